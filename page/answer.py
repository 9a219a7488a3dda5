"""What a run found, as HTML: a card, drawings, tables. Every text from outside is cleaned and escaped."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from math import comb, isfinite
from typing import Any, Literal
from urllib.parse import quote

from cgidm.intake.notes import clean
from cgidm.verdict import LEVEL

from .drawings import Labels, contrast_svg, distribution_svg, finite, moving_average, number
from .texts import say, say_if_known, table

VERDICT_SCORE = "loss_contrast"
SCORES = (VERDICT_SCORE, "removed_alignment", "removed_gain", "removed_cosine", "clip", "dino", "efficientnet_lite0")
PERCENT = round(100 * LEVEL)
OUTCOMES = {  # of a record -> the key of its words and the name of its looks; any other is "unclear"
    "consistent with training on this image": ("outcome.consistent", "consistent"),
    "consistent with training on some of these images": ("outcome.set", "consistent"),
    "no evidence": ("outcome.none", "none"),
}
GLYPHS = {"consistent": "●", "none": "○", "unclear": "?", "stopped": "■"}
NOTES = tuple(  # what `cgidm.images` says of a picture -> the key of its words
    (re.compile(pattern), key)
    for pattern, key in (
        (r"(?P<n>\d+) frames: only the first is used", "note.frames"),
        (r"rotated as its EXIF tag says", "note.rotated"),
        (r"centre square of (?P<size>\d+x\d+) used", "note.square"),
        (r"16-bit values scaled to 8 bits", "note.bits"),
        (r"transparency laid on white", "note.transparency"),
        (r"CMYK converted to RGB without a colour profile", "note.cmyk"),
    )
)
DETAILS = ("prompt", "base", "base commit", "finetuned", "finetuned commit", "careful")


def answer_html(record: Mapping[str, Any], language: str, *, beforehand: bool = False) -> str:
    """The answer for the first picture of a record; `beforehand`: it was computed before the visit."""
    if record.get("stopped"):
        return stopped_html(record, language)
    picture = record["pictures"][0]
    lines = [picture_sentence(picture, record, language)]
    if picture.get("p_value") is not None:
        lines.append(_rate(record, language))
    if beforehand:
        lines.append(_say(language, "beforehand"))
    parts = [
        _judged(picture, lines, language),
        _flags(picture, language),
        _distribution(picture, record, language),
        _caveat(language),
        _scores(picture, language),
        _contrast(picture.get("contrast") or [], language),
        _notes(picture, language),
        _details(record, [picture], language),
    ]
    return _whole(parts, language)


def stopped_html(record: Mapping[str, Any], language: str) -> str:
    """A run that was stopped: how far it came, and what it measured so far; no judgement."""
    stopped = record["stopped"]
    words = _say(language, "status.stopped", step=stopped["step"], steps=stopped["of"])
    pictures = record["pictures"]
    return _whole(
        [
            _card("stopped", words, [_say(language, "stopped.about")]),
            _contrast(pictures[0].get("contrast") or [], language, stopped["of"]) if pictures else "",
            _details(record, pictures, language),
        ],
        language,
    )


def portfolio_html(record: Mapping[str, Any], language: str, thumbnails: Sequence[str]) -> str:
    """The answer for a set first, then a row for each picture; `thumbnails` are paths of this site or data URLs."""
    if record.get("stopped"):
        return stopped_html(record, language)
    together, pictures = record.get("set"), record["pictures"]
    parts = []
    if together is not None:
        lines = [set_sentence(record, language)]
        if together.get("p_value") is not None:
            lines.append(_say(language, "rate.set", level=PERCENT))
        parts.append(_judged(together, lines, language))
    head = {name: _say(language, f"set.head.{name}") for name in ("picture", "name", "score", "outcome")}
    heads = (head["picture"], head["name"], head["score"], "p", head["outcome"])
    shown = [*thumbnails[: len(pictures)], *[""] * (len(pictures) - len(thumbnails))]
    rows = [_row(picture, url, record, language) for picture, url in zip(pictures, shown, strict=True)]
    parts += [
        _table("set", _say(language, "set.title"), heads, rows, {2, 3}),
        _caveat(language),
        _details(record, pictures, language),
    ]
    return _whole(parts, language)


def progress_html(
    language: str, *, step: int, steps: int, remaining: float | None, contrast: Sequence[float | None]
) -> str:
    """How far a run is: words, a bar, and the contrast so far. `remaining` in seconds; None: not known yet."""
    key = "status.step.first" if remaining is None else "status.step"
    left = "" if remaining is None else duration(language, remaining)
    words = escape(say(language, key, step=step, steps=steps, remaining=left))
    bar = f'<progress max="{steps}" value="{step}" aria-label="{words}">{step}/{steps}</progress>'
    return _whole([f'<p class="cg-status">{words}</p>{bar}', _contrast(contrast, language, steps)], language)


def status_html(language: str, key: str, **values: Any) -> str:
    """One line about a run that has no step to show: `status.queue`, `status.loading`, `status.controls` ..."""
    return _whole([f'<p class="cg-status" role="status">{_say(language, key, **values)}</p>'], language)


def cost_html(
    language: str,
    *,
    evaluations: int,
    seconds: float | None,
    kind: Literal["cpu", "gpu", "zero"],
    asked: float | None = None,
) -> str:
    """What a run will cost before it starts; `asked`: seconds of the daily quota that ZeroGPU is asked for."""
    time = "cost.unknown" if seconds is None else "cost"
    lines = [
        say(language, time, time="" if seconds is None else duration(language, seconds)),
        say(language, "cost.evaluations", n=f"{evaluations:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")),
    ]
    if kind != "zero":
        lines.append(say(language, f"cost.{kind}"))
    elif asked is not None:
        lines.append(say(language, "cost.zero", asked=round(asked)))
    return _whole([f'<p class="cg-cost">{escape(" · ".join(lines))}</p>'], language)


def picture_sentence(picture: Mapping[str, Any], record: Mapping[str, Any], language: str) -> str:
    """Why one picture's outcome is what it is, as HTML; in the record's own English where there are no other words."""
    n, p = len(record["control_scores"]), picture.get("p_value")
    if p is not None:
        times = round(p * (n + 1))
        key = {"consistent": "sentence.consistent", "none": "sentence.none"}.get(_outcome(picture)[1])
        if key == "sentence.none" and p <= LEVEL:
            key = "sentence.no_better"
        if key is not None:
            return _say(language, key, n=n, higher=times - 1, times=times, of=n + 1, p=plain_p(p))
    for flag in picture.get("flags") or []:
        return _flag_words(flag, language)
    if not finite([_number(picture["scores"].get(VERDICT_SCORE))]):
        return _say(language, "sentence.no_score")
    if 1 / (n + 1) > LEVEL:
        return _say(language, "sentence.few", n=n, need=round(1 / LEVEL) - 1, level=PERCENT)
    return _english(picture.get("reason"))


def set_sentence(record: Mapping[str, Any], language: str) -> str:
    """The same for all pictures together."""
    together, pictures, n = record["set"], record["pictures"], len(record["control_scores"])
    p, look = together.get("p_value"), _outcome(together)[1]
    if p is not None and look != "unclear":
        better = "sentence.set.no_better" if p <= LEVEL else "sentence.set.none"
        key = "sentence.set.consistent" if look == "consistent" else better
        return _say(language, key, pictures=together["pictures"], n=n, p=plain_p(p))
    for flag in (f for picture in pictures for f in picture.get("flags") or []):
        return _flag_words(flag, language)
    if len(finite([_number(p["scores"].get(VERDICT_SCORE)) for p in pictures])) < len(pictures):
        return _say(language, "sentence.no_score")
    if min(n, len(pictures)) < 2 or 1 / comb(n + len(pictures), n) > LEVEL:
        return _say(language, "sentence.set.few", pictures=together["pictures"], n=n, level=PERCENT)
    return _english(together.get("reason"))


def duration(language: str, seconds: float) -> str:
    """A time in words, plain text: seconds up to two minutes, then minutes."""
    if seconds < 120:
        return say(language, "time.seconds", n=max(1, round(seconds)))
    return say(language, "time.minutes", n=round(seconds / 60))


def plain_p(p: float) -> str:
    """A p-value with three digits that count."""
    return f"{p:.3g}"


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[/\\]", path)[-1]


def thumbnail_source(url: str) -> str | None:
    """A thumbnail's address, if it is a path of this site or a picture in itself; nothing is asked of another host."""
    if re.fullmatch(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=]+", url):
        return url
    if re.match(r"/(?![/\\])", url):
        return escape(quote(url, safe="/=?&%:.~-_,@+"))
    return None


def _whole(parts: Sequence[str], language: str) -> str:
    code = language if table(language) is not table("en") else "en"
    return f'<div class="cg" lang="{code}">{"".join(parts)}</div>'


def _judged(judged: Mapping[str, Any], lines: Sequence[str], language: str) -> str:
    key, look = _outcome(judged)
    return _card(look, _say(language, key), lines)


def _card(look: str, words: str, lines: Sequence[str]) -> str:
    """The answer itself: words and a shape, so that it does not hang on a colour; all of it HTML."""
    rest = "".join(f"<p>{line}</p>" for line in lines)
    title = f'<p class="cg-outcome">{_glyph(look)} <strong>{words}</strong></p>'
    return f'<section class="cg-card cg-{look}" role="status">{title}{rest}</section>'


def _outcome(judged: Mapping[str, Any]) -> tuple[str, str]:
    """The key of an outcome's words, and the name of its looks."""
    return OUTCOMES.get(judged.get("outcome", ""), ("outcome.unclear", "unclear"))


def _glyph(look: str) -> str:
    return f'<span class="cg-glyph" aria-hidden="true">{GLYPHS[look]}</span>'


def _row(picture: Mapping[str, Any], url: str, record: Mapping[str, Any], language: str) -> tuple[str, ...]:
    """One picture of a set: thumbnail, name, score, p, answer."""
    (key, look), source, name = _outcome(picture), thumbnail_source(url), _text(file_name(picture["path"]))
    image = "" if source is None else f'<img class="cg-thumbnail" src="{source}" alt="{name}">'
    p = "—" if picture.get("p_value") is None else plain_p(picture["p_value"])
    answer = f'<span class="cg-tag cg-{look}">{_glyph(look)} {_say(language, key)}</span>'
    if look == "unclear":
        answer += f"<br><small>{picture_sentence(picture, record, language)}</small>"
    return image, name, _value(picture["scores"].get(VERDICT_SCORE)), p, answer


def _rate(record: Mapping[str, Any], language: str) -> str:
    n = len(record["control_scores"])
    return _say(language, "rate", level=PERCENT, n=n, lowest=plain_p(1 / (n + 1)))


def _distribution(picture: Mapping[str, Any], record: Mapping[str, Any], language: str) -> str:
    score, controls = _number(picture["scores"].get(VERDICT_SCORE)), finite([*map(_number, record["control_scores"])])
    if not finite([score]) and not controls:
        return ""
    shown = _value(score)
    about = say(language, "drawing.description.none", score=shown)
    if controls:
        ends = {"low": number(min(controls)), "high": number(max(controls))}
        about = say(language, "drawing.description", n=len(controls), score=shown, **ends)
    mark, zero = say(language, "drawing.mark"), say(language, "drawing.zero")
    labels = Labels(say(language, "drawing.title"), about, mark, zero)
    return _figure("drawing", distribution_svg(score, controls, labels), language)


def _contrast(values: Sequence[float | None], language: str, steps: int | None = None) -> str:
    known = finite([_number(v) for v in values])
    if len(known) < 2:
        return ""
    last = number(moving_average(known, max(1, len(known) // 10))[-1])
    about = say(language, "contrast.description", n=len(values), last=last)
    labels = Labels(say(language, "contrast.title"), about)
    return _figure("contrast", contrast_svg([_number(v) for v in values], labels, steps), language)


def _figure(name: str, svg: str, language: str) -> str:
    caption = _say(language, f"{name}.caption")
    return (
        f'<figure class="cg-figure"><h3>{_say(language, f"{name}.title")}</h3>{svg}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _scores(picture: Mapping[str, Any], language: str) -> str:
    """Every score in words; the one that decides stands first."""
    scores, reasons, rows = picture["scores"], picture.get("not_computed") or {}, []
    for name in (*(s for s in SCORES if s in scores), *(s for s in scores if s not in SCORES)):
        title = say_if_known(language, f"score.{name}")
        about = say_if_known(language, f"score.{name}.about")
        words = f"<code>{_text(name)}</code>" if title is None else f"{_text(title)}<br><code>{_text(name)}</code>"
        if name == VERDICT_SCORE:
            words += f' <span class="cg-tag">{_say(language, "scores.deciding")}</span>'
        meaning = "" if about is None else escape(about)
        if not finite([_number(scores[name])]):
            why = f": {_english(reasons[name])}" if name in reasons else ""
            meaning += f'<br><small class="cg-missing">{_say(language, "scores.missing")}{why}</small>'
        rows.append((words, _value(scores[name]), meaning))
    heads = [_say(language, f"scores.head.{name}") for name in ("score", "value", "about")]
    return _table("scores", _say(language, "scores.title"), heads, rows, {1})


def _flags(picture: Mapping[str, Any], language: str) -> str:
    """What speaks against trusting the number: in words, and under which condition the program says so."""
    items = "".join(
        f"<li>{_flag_words(flag, language)}<br><small>{_say(language, 'flags.raised_if')}: "
        f"{_english(flag.get('raised_if'))} (<code>{_text(flag.get('name'))}</code>)</small></li>"
        for flag in picture.get("flags") or []
    )
    if not items:
        return ""
    return f'<section class="cg-flags"><h3>{_say(language, "flags.title")}</h3><ul>{items}</ul></section>'


def _flag_words(flag: Mapping[str, Any], language: str) -> str:
    known = say_if_known(language, f"flag.{flag.get('name')}")
    return _english(flag.get("explanation")) if known is None else _text(known)


def _notes(picture: Mapping[str, Any], language: str) -> str:
    notes = [_note(note, language) for note in picture.get("notes") or []] or [_say(language, "note.none")]
    items = "".join(f"<li>{note}</li>" for note in notes)
    return f"<h3>{_say(language, 'notes.title')}</h3><ul>{items}</ul>"


def _note(note: str, language: str) -> str:
    for pattern, key in NOTES:
        if match := pattern.fullmatch(note):
            return _say(language, key, **match.groupdict())
    return _english(note)


def _caveat(language: str) -> str:
    items = "".join(f"<li>{_say(language, f'caveat.{part}')}</li>" for part in ("chance", "none", "image", "law"))
    return f'<section class="cg-caveat"><h3>{_say(language, "caveat.title")}</h3><ul>{items}</ul></section>'


def _details(record: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]], language: str) -> str:
    """What somebody needs who wants to run it again, folded away."""
    models, config = record.get("models") or {}, record.get("config") or {}
    recovery, rows = config.get("recovery") or {}, []
    for picture in pictures:
        rows.append((_say(language, "details.picture"), _text(file_name(picture["path"]))))
        rows.append((_say(language, "details.picture_sha256"), f"<code>{_text(picture.get('sha256'))}</code>"))
    named = [k for k in DETAILS if k in models] + [k for k in models if k not in DETAILS and k != "sha256"]
    for key in named:
        title = say_if_known(language, f"details.{key.replace(' ', '_')}") if key in DETAILS else None
        rows.append((_text(title or key), f"<code>{_text(models[key])}</code>"))
    shown = {
        "preset": config.get("preset"),
        "steps": recovery.get("steps"),
        "draws": recovery.get("draws"),
        "seed": record.get("seed"),
        "controls": len(record["control_scores"]),
    }
    rows += [(_say(language, f"details.{k}"), _text(v)) for k, v in shown.items() if v is not None]
    if (seconds := _number(record.get("seconds"))) is not None and isfinite(seconds):
        rows.append((_say(language, "details.time"), escape(duration(language, seconds))))
    for name in ("versions", "sha256"):
        held = (record if name == "versions" else models).get(name) or {}
        lines = "<br>".join(f"{_text(k)} <code>{_text(v)}</code>" for k, v in held.items() if v is not None)
        rows += [(_say(language, f"details.{name}"), lines)] if lines else []
    items = "".join(f"<dt>{title}</dt><dd>{value}</dd>" for title, value in rows)
    return f'<details class="cg-details"><summary>{_say(language, "details.title")}</summary><dl>{items}</dl></details>'


def _table(name: str, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int]) -> str:
    """A headed table that scrolls inside its own frame; all texts are HTML. `numbers`: the columns of numbers."""
    look = [f' class="cg-number" data-head="{words}"' if i in numbers else "" for i, words in enumerate(heads)]
    head = "".join(f'<th scope="col"{c}>{words}</th>' for words, c in zip(heads, look, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{c}>{cell}</td>" for cell, c in zip(row, look, strict=True)) + "</tr>" for row in rows
    )
    return (
        f'<h3>{title}</h3><div class="cg-scroll cg-{name}" role="region" tabindex="0" aria-label="{title}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _say(language: str, key: str, **values: Any) -> str:
    """The words of a key as HTML; what is filled in is cleaned first."""
    return escape(say(language, key, **{k: clean(v) if isinstance(v, str) else v for k, v in values.items()}))


def _text(value: Any) -> str:
    """What came from outside, as HTML: one line, printable characters alone, not too long."""
    return escape(clean(str(value)))


def _english(value: Any) -> str:
    """A sentence of a record, which is English on every page."""
    return f'<span lang="en">{_text(value)}</span>'


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _value(value: Any) -> str:
    known = finite([_number(value)])
    return number(known[0]) if known else "—"
