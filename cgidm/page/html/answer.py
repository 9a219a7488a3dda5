"""What a run found for one picture, as HTML: the answer, what speaks against it, drawings, scores, the record."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from typing import Any

from .figures import contrast_figure, distribution_figure
from .markup import (
    as_number,
    bullets,
    card,
    english,
    file_name,
    headed_table,
    outcome_of,
    outside,
    shown_number,
    whole,
    words,
    words_if_known,
)
from .progress import duration
from .sentences import (
    VERDICT_SCORE,
    against,
    bank_sentences,
    flag_words,
    picture_sentence,
    power_sentences,
    rate_sentence,
    view_name,
    view_sentences,
)
from .svg import finite

SCORES = (VERDICT_SCORE, "removed_alignment", "removed_gain", "removed_cosine", "clip", "dino", "efficientnet_lite0")
NOTES = tuple(  # what `cgidm.pictures.images` says of a picture -> the key of its words
    (re.compile(pattern), key)
    for pattern, key in (
        (r"(?P<n>\d+) frames: only the first is used", "note.frames"),
        (r"rotated as its EXIF tag says", "note.rotated"),
        (r"centre square of (?P<size>\d+x\d+) used", "note.square"),
        (r"16-bit values scaled to 8 bits", "note.bits"),
        (r"transparency laid on white", "note.transparency"),
        (r"CMYK converted to RGB without a colour profile", "note.cmyk"),
        # and `cgidm.pictures.duplicates`
        (r"nearly the same picture as control (?P<name>.+), which is not used: .+", "note.copy"),
        (r"nearly the same picture as (?P<names>.+): in the answer for all together .+", "note.tie"),
    )
)
DETAILS = ("prompt", "base", "base commit", "suspect", "suspect commit", "careful")


def answer_html(record: Mapping[str, Any], language: str, *, beforehand: bool = False) -> str:
    """The answer for the first picture of a record; `beforehand`: it was computed before the visit."""
    if record.get("stopped"):
        return stopped_html(record, language)
    picture = record["pictures"][0]
    lines = [picture_sentence(picture, record, language)]
    if picture.get("p_value") is not None:
        lines.append(rate_sentence(record, language))
    lines += [*power_sentences(record, language, picture), *bank_sentences(record, language)]
    lines += view_sentences(picture, record, language)
    if beforehand:
        lines.append(words(language, "beforehand"))
    key, look = outcome_of(picture)
    parts = [
        card(look, words(language, key), lines),
        _flags(picture, language),
        distribution_figure(picture, record, language),
        caveat(record, language),
        _scores(picture, language),
        contrast_figure(picture.get("contrast") or [], language),
        _notes(picture, language),
        details(record, [picture], language),
    ]
    return whole(parts, language)


def stopped_html(record: Mapping[str, Any], language: str) -> str:
    """A run that was stopped: how far it came, and what it measured so far; no judgement."""
    stopped = record["stopped"]
    title = words(language, "status.stopped", step=stopped["step"], steps=stopped["of"])
    lines = [words(language, "stopped.about"), *power_sentences(record, language)]
    pictures = record["pictures"]
    parts = [
        card("stopped", title, lines),
        contrast_figure(pictures[0].get("contrast") or [], language, stopped["of"]) if pictures else "",
        details(record, pictures, language),
    ]
    return whole(parts, language)


def caveat(record: Mapping[str, Any], language: str) -> str:
    """What an answer does not say."""
    said = ["caveat.chance", "caveat.none", against(record, "caveat.image"), "caveat.law"]
    if record.get("bank"):
        said.insert(1, "caveat.bank")
    title = words(language, "caveat.title")
    return f'<section class="cg-caveat"><h3>{title}</h3>{bullets([words(language, key) for key in said])}</section>'


def details(record: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]], language: str) -> str:
    """What somebody needs who wants to run it again, folded away."""
    models, config = record.get("models") or {}, record.get("config") or {}
    recovery, rows = config.get("recovery") or {}, []
    for picture in pictures:
        rows.append((words(language, "details.picture"), outside(file_name(picture["path"]))))
        rows.append((words(language, "details.picture_sha256"), f"<code>{outside(picture.get('sha256'))}</code>"))
    named = [k for k in DETAILS if k in models] + [k for k in models if k not in DETAILS and k != "sha256"]
    for key in named:
        title = words_if_known(language, f"details.{key.replace(' ', '_')}") if key in DETAILS else None
        rows.append((title or outside(key), f"<code>{outside(models[key])}</code>"))
    views = config.get("views") or []
    shown = {
        "preset": config.get("preset"),
        "steps": recovery.get("steps"),
        "draws": recovery.get("draws"),
        "views": ", ".join(view_name(view, language) for view in views) if len(views) > 1 else None,
        "seed": record.get("seed"),
        "nulls" if record.get("bank") else "controls": len(record["control_scores"]),
    }
    if bank := record.get("bank"):
        named = f"{outside(bank['name'])}<br><code>{outside(bank['sha256'])}</code>"
        rows.append((words(language, "details.bank"), named))
    rows += [(words(language, f"details.{k}"), outside(v)) for k, v in shown.items() if v is not None]
    if (seconds := as_number(record.get("seconds"))) is not None and isfinite(seconds):
        rows.append((words(language, "details.time"), escape(duration(language, seconds))))
    for name in ("versions", "sha256"):
        held = (record if name == "versions" else models).get(name) or {}
        lines = "<br>".join(f"{outside(k)} <code>{outside(v)}</code>" for k, v in held.items() if v is not None)
        rows += [(words(language, f"details.{name}"), lines)] if lines else []
    items = "".join(f"<dt>{title}</dt><dd>{value}</dd>" for title, value in rows)
    return (
        f'<details class="cg-details"><summary>{words(language, "details.title")}</summary><dl>{items}</dl></details>'
    )


def _scores(picture: Mapping[str, Any], language: str) -> str:
    """Every score in words; the one that decides stands first."""
    scores, reasons, rows = picture["scores"], picture.get("not_computed") or {}, []
    for name in (*(s for s in SCORES if s in scores), *(s for s in scores if s not in SCORES)):
        title, code = words_if_known(language, f"score.{name}"), f"<code>{outside(name)}</code>"
        called = code if title is None else f"{title}<br>{code}"
        if name == VERDICT_SCORE:
            called += f' <span class="cg-tag">{words(language, "scores.deciding")}</span>'
        meaning = words_if_known(language, f"score.{name}.about") or ""
        if not finite([as_number(scores[name])]):
            why = f": {english(reasons[name])}" if name in reasons else ""
            meaning += f'<br><small class="cg-missing">{words(language, "scores.missing")}{why}</small>'
        rows.append((called, shown_number(scores[name]), meaning))
    heads = [words(language, f"scores.head.{name}") for name in ("score", "value", "about")]
    return headed_table("scores", words(language, "scores.title"), heads, rows, {1})


def _flags(picture: Mapping[str, Any], language: str) -> str:
    """What speaks against trusting the number: in words, and under which condition the program says so."""
    items = [
        f"{flag_words(flag, language)}<br><small>{words(language, 'flags.raised_if')}: "
        f"{english(flag.get('raised_if'))} (<code>{outside(flag.get('name'))}</code>)</small>"
        for flag in picture.get("flags") or []
    ]
    if not items:
        return ""
    return f'<section class="cg-flags"><h3>{words(language, "flags.title")}</h3>{bullets(items)}</section>'


def _notes(picture: Mapping[str, Any], language: str) -> str:
    notes = [_note(note, language) for note in picture.get("notes") or []] or [words(language, "note.none")]
    return f"<h3>{words(language, 'notes.title')}</h3>{bullets(notes)}"


def _note(note: str, language: str) -> str:
    for pattern, key in NOTES:
        if match := pattern.fullmatch(note):
            return words(language, key, **match.groupdict())
    return english(note)
