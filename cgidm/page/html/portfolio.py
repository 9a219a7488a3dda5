"""The answer for a set of pictures: all together first, then each of them, then why."""

from collections.abc import Mapping, Sequence

from cgidm.evidence.record import PictureRecord, Record, SetRecord

from .answer import about_html, caveats_html, details_html, heading_html, picture_names, stopped_html
from .gallery import figures_html
from .markup import (
    card,
    escape_untrusted,
    file_name,
    format_p_value,
    glyph,
    headed_table,
    html_text,
    note_html,
    number_or_dash,
    outcome_style,
    picture_source,
    wrap_page,
)
from .sentences import (
    bank_sentences,
    known_p_value,
    picture_sentence,
    power_sentences,
    set_rate_sentences,
    set_sentence,
    view_sentences,
    witness_sentences,
)

SHOWN_WITH_ANSWER = 3  # pictures beside the answer: all of them follow below


def portfolio_html(record: Record, language: str, thumbnails: Sequence[str], *, early: bool = False) -> str:
    """Show the answer for a set: what it is about, what it is, how often it is wrong, and why.

    Args:
        record: a run of several pictures.
        language: the visitor's language.
        thumbnails: one address a picture, paths of this site or data URLs; fewer or none if they are missing.
        early: the recovery follows.
    """
    if record.stopped is not None:
        return stopped_html(record, language)
    together = record.set
    if together is None:
        return ""
    key, style = outcome_style(together)
    lines = [set_sentence(together, record, language), *(note_html(n, language) for n in together.notes)]
    if known_p_value(together) is not None:
        lines += set_rate_sentences(together, language)[: _with_answer(together)]
    lines += [html_text(language, "answer.early")] if early else []
    named = about_html(record, picture_names(record, language), thumbnails[:SHOWN_WITH_ANSWER], language)
    return wrap_page([card(style, html_text(language, key), lines, named)], language)


def portfolio_reasons_html(record: Record, language: str) -> str:
    """Show how sure the answer for a set is, and why; then a row for each picture and the record, folded away."""
    together = record.set
    lines: list[str] = []
    if together is not None:
        lines += (
            set_rate_sentences(together, language)[_with_answer(together) :]
            if known_p_value(together) is not None
            else []
        )
        lines += witness_sentences(together, record, language)
        lines += power_sentences(record, language, together)
    lines += bank_sentences(record.bank, language)
    has_rate = together is not None and known_p_value(together) is not None
    parts = [
        heading_html("why.title", lines, language),
        caveats_html(record, has_rate, language),
        _table(record, language),
        details_html(record, record.pictures, language),
    ]
    return wrap_page(parts, language)


def _with_answer(together: SetRecord) -> int:
    """How many of the sentences about error rates stand beside the answer: how many were used, and the rate itself."""
    return 1 if together.used is None else 2


def gallery_html(record: Record, language: str, images: Sequence[Mapping[str, str]]) -> str:
    """Show every picture of a set with its answer; each opens its recovery and that of its mirror image.

    Args:
        record: a run of several pictures.
        language: the visitor's language.
        images: for each picture, addresses by role: "original", and what else there is.
    """
    items = [_panel(p, of, record, language) for p, of in zip(record.pictures, images, strict=False)]
    title = html_text(language, "set.title")
    return wrap_page([f'<h3>{title}</h3><div class="cg-gallery">{"".join(items)}</div>'], language)


def _panel(picture: PictureRecord, images: Mapping[str, str], record: Record, language: str) -> str:
    key, style = outcome_style(picture)
    name = escape_untrusted(file_name(picture.name))
    source = picture_source(images.get("original", ""))
    image = "" if source is None else f'<img src="{source}" alt="{name}" loading="lazy">'
    answer = f'<span class="cg-tag cg-{style}">{glyph(style)} {html_text(language, key)}</span>'
    opened = figures_html({role: url for role, url in images.items() if role != "original"}, name, language)
    folded = f"<details><summary>{html_text(language, 'set.open')}</summary>{opened}</details>" if opened else ""
    return f'<div class="cg-item">{image}<span class="cg-name">{name}</span>{answer}{folded}</div>'


def _table(record: Record, language: str) -> str:
    """List every picture's score and p-values, folded away."""
    pictures = record.pictures
    columns: list[Sequence[float | None]] = [[known_p_value(p) for p in pictures]]
    heads = ["p"]
    if record.set is not None and len(record.set.adjusted) == len(pictures):
        columns.append(record.set.adjusted)
        heads.append(html_text(language, "set.head.holm"))
    rows = [
        _row(picture, p_values, record, language)
        for picture, p_values in zip(pictures, zip(*columns, strict=True), strict=True)
    ]
    first = [html_text(language, f"set.head.{name}") for name in ("name", "score")]
    every = [*first, *heads, html_text(language, "set.head.outcome")]
    title = html_text(language, "scores.title")
    table = headed_table("set", title, every, rows, set(range(1, len(every) - 1)))
    return f'<details class="cg-details"><summary>{title}</summary>{table}</details>'


def _row(picture: PictureRecord, p_values: Sequence[float | None], record: Record, language: str) -> tuple[str, ...]:
    """Return one picture's name, score, p-values and answer."""
    key, style = outcome_style(picture)
    name = escape_untrusted(file_name(picture.name))
    answer = f'<span class="cg-tag cg-{style}">{glyph(style)} {html_text(language, key)}</span>'
    more = [picture_sentence(picture, record, language)] if style == "unclear" else []
    more += view_sentences(picture, record, language)
    answer += "".join(f"<br><small>{sentence}</small>" for sentence in more)
    return name, number_or_dash(picture.scores.get(record.judged_by)), *map(format_p_value, p_values), answer
