"""What a run found for one picture, as HTML: answer, flags, drawings, scores, notes, details."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from typing import Any

from cgidm.evidence.record import ModelsRecord, PictureRecord, Record
from cgidm.judging.mirror_test import likelihood_note
from cgidm.resources import SHIPPED

from .figures import contrast_figure, distribution_figure
from .markup import (
    bullets,
    card,
    escape_untrusted,
    file_name,
    headed_table,
    html_text,
    html_text_if_known,
    note_html,
    number_or_dash,
    outcome_style,
    picture_source,
    wrap_page,
)
from .progress import format_duration
from .sentences import (
    INNER_MIRROR_SCORE,
    MIRROR_SCORE,
    VERDICT_SCORE,
    bank_sentences,
    by_both,
    by_mirror,
    comparison_key,
    flag_html,
    known_p_value,
    picture_sentence,
    power_sentences,
    rate_sentence,
    view_name,
    view_sentences,
    witness_sentences,
)
from .svg import finite_values

SCORES = (
    MIRROR_SCORE,
    INNER_MIRROR_SCORE,
    "residual",
    VERDICT_SCORE,
    "mirror_contrast",
    "alignment_difference",
    "removed_alignment",
    "removed_gain",
    "removed_cosine",
    "clip",
    "dino",
    "efficientnet_lite0",
)
OF_THE_COMMAND_LINE = ("pictures.weights_not_cached",)  # reasons that tell of its options
Rows = list[tuple[str, str]]  # title and value, both HTML


def answer_html(record: Record, language: str, *, url: str = "", precomputed: bool = False, early: bool = False) -> str:
    """Show the answer for the first picture of a record: what it is about, what it is, how often it is wrong, and why.

    Args:
        record: of a run.
        language: the visitor's language.
        url: the address of the picture, a path of this site or a data URL.
        precomputed: it ships with the page.
        early: the recovery follows.
    """
    if record.stopped is not None:
        return stopped_html(record, language)
    picture = record.pictures[0]
    lines = [picture_sentence(picture, record, language)]
    if known_p_value(picture) is not None:
        lines.append(rate_sentence(record, language))
    if precomputed:
        lines.append(html_text(language, "precomputed"))
    if early:
        lines.append(html_text(language, "answer.early"))
    key, style = outcome_style(picture)
    named = about_html(record, escape_untrusted(file_name(picture.name)), [url], language)
    return wrap_page([card(style, html_text(language, key), lines, named)], language)


def reasons_html(record: Record, language: str) -> str:
    """Show how sure the answer for one picture is, and why; then scores and the record, folded away."""
    picture = record.pictures[0]
    lines = witness_sentences(picture, record, language)
    if (ratio := picture.likelihood) is not None:
        lines.append(note_html(likelihood_note(ratio.ratio, ratio.low), language))
    lines += power_sentences(record, language, picture)
    lines += bank_sentences(record.bank, language)
    lines += view_sentences(picture, record, language)
    parts = [
        heading_html("why.title", lines, language),
        _flags(picture, language),
        distribution_figure(picture, record, language),
        caveats_html(record, known_p_value(picture) is not None, language),
        _notes(picture, language),
        _scores(picture, record.judged_by, language),
        details_html(record, [picture], language),
    ]
    return wrap_page(parts, language)


def about_html(record: Record, picture: str, urls: Sequence[str], language: str) -> str:
    """Name what an answer is about: picture, model and base, with small pictures.

    Args:
        record: of a run.
        picture: what the picture or pictures are called, as HTML.
        urls: addresses of pictures.
        language: the visitor's language.
    """
    models = record.models
    publication = models.publications.get("suspect")
    suspect = model_name(models.suspect) if publication is None else f"{publication.model_name} ({publication.air})"
    named = {
        "picture": picture,
        "suspect": escape_untrusted(suspect),
        "base": escape_untrusted(model_name(models.base)),
    }
    images = "".join(
        f'<img class="cg-thumbnail" src="{source}" alt="">' for url in urls if (source := picture_source(url))
    )
    items = "".join(f"<dt>{html_text(language, f'details.{k}')}</dt><dd>{v}</dd>" for k, v in named.items())
    return f'<div class="cg-about">{images}<dl>{items}</dl></div>'


def model_name(name: str) -> str:
    """Return a model's name without what says that it ships."""
    return name.removeprefix(SHIPPED)


def picture_names(record: Record, language: str) -> str:
    """Return what the pictures of a run are called, as HTML: the one by its name, several by their number."""
    if len(record.pictures) > 1:
        return html_text(language, "answer.pictures", n=len(record.pictures))
    return escape_untrusted(file_name(record.pictures[0].name)) if record.pictures else "—"


def heading_html(key: str, lines: Sequence[str], language: str) -> str:
    """Return a heading with lines under it, which are HTML; nothing without lines."""
    return f"<h3>{html_text(language, key)}</h3>{''.join(f'<p>{line}</p>' for line in lines)}" if lines else ""


def stopped_html(record: Record, language: str, controls: tuple[int, int] | None = None, first: str = "") -> str:
    """Show how far a stopped run came and what it measured; the recovery has no verdict.

    Args:
        record: of the run.
        language: the visitor's language.
        controls: how many control pictures were scored, of how many, which comes before the first step.
        first: the answer that was there before the recovery, as HTML; it stands below and is told apart.
    """
    stopped, pictures = record.stopped, record.pictures
    assert stopped is not None
    title = html_text(language, "status.stopped", step=stopped.step, steps=stopped.of)
    if stopped.step == 0:
        title = html_text(language, "status.stopped.early")
        if controls is not None and controls[0] < controls[1]:
            title = html_text(language, "status.stopped.controls", done=controls[0], of=controls[1])
    lines = [html_text(language, "stopped.about")]
    if first:
        lines.append(html_text(language, "stopped.first"))
    if record.expected_power is not None:  # or it was not looked up yet
        lines += power_sentences(record, language)
    parts = [
        card("stopped", title, lines, about_html(record, picture_names(record, language), [], language)),
        contrast_figure(pictures[0].contrast, language, stopped.of) if pictures else "",
        details_html(record, pictures, language),
    ]
    return wrap_page(parts, language) + first


def caveats_html(record: Record, has_rate: bool, language: str) -> str:
    """List what an answer does not say; `has_rate`: it states how often it is wrong."""
    keys = [
        "caveat.chance" if has_rate else "caveat.chance.no_rate",
        "caveat.none",
        comparison_key(record, "caveat.image") if record.control_scores else "caveat.image.mirror",
        "caveat.law",
    ]
    if record.bank is not None:
        keys.insert(1, "caveat.bank")
    if record.mirror is not None:
        keys.insert(1, "caveat.mirror")
    title, items = html_text(language, "caveat.title"), bullets([html_text(language, key) for key in keys])
    return f'<section class="cg-caveat"><h3>{title}</h3>{items}</section>'


def details_html(record: Record, pictures: Sequence[PictureRecord], language: str) -> str:
    """List what is needed to repeat the run, folded away."""
    rows: Rows = []
    for picture in pictures:
        rows.append((html_text(language, "details.picture"), escape_untrusted(file_name(picture.name))))
        rows.append((html_text(language, "details.picture_sha256"), f"<code>{escape_untrusted(picture.sha256)}</code>"))
    rows += _model_rows(record.models, language)
    rows += _setting_rows(record, language)
    if isfinite(record.seconds):
        rows.append((html_text(language, "details.time"), escape(format_duration(language, record.seconds))))
    rows += _listing_row("versions", record.versions, language)
    rows += _listing_row("sha256", record.models.sha256, language)
    items = "".join(f"<dt>{title}</dt><dd>{value}</dd>" for title, value in rows)
    title = html_text(language, "details.title")
    return f'<details class="cg-details"><summary>{title}</summary><dl>{items}</dl></details>'


def _model_rows(models: ModelsRecord, language: str) -> Rows:
    publication = models.publications.get("suspect")
    values = {
        "prompt": " | ".join((models.prompt, *models.other_prompts)),
        "base": models.base,
        "base_commit": models.commits.get("base"),
        "suspect": models.suspect,
        "suspect_commit": models.commits.get("suspect"),
        "suspect_civitai": None if publication is None else publication.air,
        "embeddings": ", ".join(models.embeddings) or None,
        "unrelated": models.unrelated,
        "unrelated_sha256": models.unrelated_sha256,
    }
    rows = [
        (html_text(language, f"details.{name}"), f"<code>{escape_untrusted(value)}</code>")
        for name, value in values.items()
        if value is not None
    ]
    if models.warning is not None:
        rows.append((html_text(language, "details.warning"), note_html(models.warning, language)))
    rows += [(html_text(language, "details.remark"), note_html(remark, language)) for remark in models.remarks]
    rows += [(html_text(language, "details.warning"), note_html(assumed, language)) for assumed in models.notes]
    return rows


def _setting_rows(record: Record, language: str) -> Rows:
    config, bank, rows = record.config, record.bank, []
    if bank is not None:
        named = f"{escape_untrusted(bank.name)}<br><code>{escape_untrusted(bank.sha256)}</code>"
        rows.append((html_text(language, "details.bank"), named))
    values: dict[str, Any] = {
        "preset": config.preset,
        "steps": config.recovery.steps,
        "draws": config.recovery.draws,
        "views": ", ".join(view_name(view, language) for view in config.views) if len(config.views) > 1 else None,
        "seed": config.seed,
        "controls" if bank is None else "nulls": len(record.control_scores),
    }
    known = ((name, value) for name, value in values.items() if value is not None)
    return rows + [(html_text(language, f"details.{name}"), escape_untrusted(value)) for name, value in known]


def _listing_row(name: str, listing: Mapping[str, str | None], language: str) -> Rows:
    lines = [f"{escape_untrusted(k)} <code>{escape_untrusted(v)}</code>" for k, v in listing.items() if v is not None]
    return [(html_text(language, f"details.{name}"), "<br>".join(lines))] if lines else []


def _scores(picture: PictureRecord, judged_by: str, language: str) -> str:
    """List every score with its meaning, folded away with the contrast of each step; the one that decides is marked."""
    scores, rows = picture.scores, []
    deciding = {MIRROR_SCORE if by_mirror(picture) else judged_by, *([judged_by] if by_both(picture) else [])}
    for name in (*(s for s in SCORES if s in scores), *(s for s in scores if s not in SCORES)):
        title, code = html_text_if_known(language, f"score.{name}"), f"<code>{escape_untrusted(name)}</code>"
        label = code if title is None else f"{title}<br>{code}"
        if name in deciding:
            label += f' <span class="cg-tag">{html_text(language, "scores.deciding")}</span>'
        meaning = html_text_if_known(language, f"score.{name}.about") or ""
        if not finite_values([scores[name]]):
            reason = picture.not_computed.get(name)
            known = reason is not None and reason.code not in OF_THE_COMMAND_LINE
            why = f": {note_html(reason, language)}" if reason is not None and known else ""
            meaning += f'<br><small class="cg-missing">{html_text(language, "scores.missing")}{why}</small>'
        error = picture.score_errors.get(name)
        value = number_or_dash(scores[name]) + ("" if error is None else f" ± {error:.2f}")
        rows.append((label, value, meaning))
    heads = [html_text(language, f"scores.head.{name}") for name in ("score", "value", "about")]
    title = html_text(language, "scores.title")
    table = headed_table("scores", title, heads, rows, {1}) + contrast_figure(picture.contrast, language)
    return f'<details class="cg-details"><summary>{title}</summary>{table}</details>'


def _flags(picture: PictureRecord, language: str) -> str:
    """List what speaks against trusting the number, and the condition that raised each flag."""
    if not picture.flags:
        return ""
    condition = html_text(language, "flags.raised_if")
    items = [
        f"{flag_html(flag, language)}<br><small>{condition}: "
        f"{note_html(flag.condition, language)} "
        f"(<code>{escape_untrusted(flag.name)}</code>)</small>"
        for flag in picture.flags
    ]
    return f'<section class="cg-flags"><h3>{html_text(language, "flags.title")}</h3>{bullets(items)}</section>'


def _notes(picture: PictureRecord, language: str) -> str:
    notes = [note_html(note, language) for note in picture.notes] or [html_text(language, "notes.none")]
    return f"<h3>{html_text(language, 'notes.title')}</h3>{bullets(notes)}"
