"""The answer for a set of pictures: all together first, then a row for each."""

from collections.abc import Sequence

from cgidm.evidence.record import PictureRecord, Record

from .answer import caveats_html, details_html, stopped_html
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


def portfolio_html(record: Record, language: str, thumbnails: Sequence[str], *, early: bool = False) -> str:
    """Show the answer for a set, then a row for each picture.

    Args:
        record: a run of several pictures.
        language: the visitor's language.
        thumbnails: one address a picture, paths of this site or data URLs; fewer or none if they are missing.
        early: the recovery follows.
    """
    if record.stopped is not None:
        return stopped_html(record, language)
    parts = [
        _together(record, language, early),
        _table(record, language, thumbnails),
        caveats_html(record, language),
        details_html(record, record.pictures, language),
    ]
    return wrap_page(parts, language)


def _together(record: Record, language: str, early: bool) -> str:
    together = record.set
    if together is None:
        return ""
    key, style = outcome_style(together)
    lines = [set_sentence(together, record, language), *(note_html(n, language) for n in together.notes)]
    if known_p_value(together) is not None:
        lines += set_rate_sentences(together, language)
    lines += witness_sentences(together, record, language)
    lines += [] if early else power_sentences(record, language, together)  # it is looked up later
    lines += bank_sentences(record.bank, language)
    lines += [html_text(language, "answer.early")] if early else []
    return card(style, html_text(language, key), lines)


def _table(record: Record, language: str, thumbnails: Sequence[str]) -> str:
    pictures = record.pictures
    columns: list[Sequence[float | None]] = [[known_p_value(p) for p in pictures]]
    heads = ["p"]
    if record.set is not None and len(record.set.adjusted) == len(pictures):
        columns.append(record.set.adjusted)
        heads.append(html_text(language, "set.head.holm"))
    urls = [*thumbnails[: len(pictures)], *[""] * (len(pictures) - len(thumbnails))]
    rows = [
        _row(picture, url, p_values, record, language)
        for picture, url, p_values in zip(pictures, urls, zip(*columns, strict=True), strict=True)
    ]
    first = [html_text(language, f"set.head.{name}") for name in ("picture", "name", "score")]
    every = [*first, *heads, html_text(language, "set.head.outcome")]
    return headed_table("set", html_text(language, "set.title"), every, rows, set(range(2, len(every) - 1)))


def _row(
    picture: PictureRecord, url: str, p_values: Sequence[float | None], record: Record, language: str
) -> tuple[str, ...]:
    """Return one picture's thumbnail, name, score, p-values and answer."""
    (key, style), source = outcome_style(picture), picture_source(url)
    name = escape_untrusted(file_name(picture.name))
    image = "" if source is None else f'<img class="cg-thumbnail" src="{source}" alt="{name}">'
    answer = f'<span class="cg-tag cg-{style}">{glyph(style)} {html_text(language, key)}</span>'
    more = [picture_sentence(picture, record, language)] if style == "unclear" else []
    more += view_sentences(picture, record, language)
    answer += "".join(f"<br><small>{sentence}</small>" for sentence in more)
    return image, name, number_or_dash(picture.scores.get(record.judged_by)), *map(format_p_value, p_values), answer
