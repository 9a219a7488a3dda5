"""The answer for a set of pictures: all together first, then a row for each."""

from collections.abc import Mapping, Sequence
from typing import Any

from .answer import caveat, details, stopped_html
from .markup import (
    card,
    file_name,
    glyph,
    headed_table,
    outcome_of,
    outside,
    picture_source,
    plain_p,
    shown_number,
    whole,
    words,
)
from .sentences import (
    VERDICT_SCORE,
    bank_sentences,
    picture_sentence,
    power_sentences,
    set_rate_sentences,
    set_sentence,
    view_sentences,
)


def portfolio_html(record: Mapping[str, Any], language: str, thumbnails: Sequence[str]) -> str:
    """The answer for a set first, then a row for each picture; `thumbnails` are paths of this site or data URLs."""
    if record.get("stopped"):
        return stopped_html(record, language)
    pictures = record["pictures"]
    parts = [
        _together(record, language),
        _table(record, language, thumbnails),
        caveat(record, language),
        details(record, pictures, language),
    ]
    return whole(parts, language)


def _together(record: Mapping[str, Any], language: str) -> str:
    together = record.get("set")
    if together is None:
        return ""
    key, look = outcome_of(together)
    lines = [set_sentence(record, language)]
    if together.get("p_value") is not None:
        lines += set_rate_sentences(record, language)
    lines += [*power_sentences(record, language, together), *bank_sentences(record, language)]
    return card(look, words(language, key), lines)


def _table(record: Mapping[str, Any], language: str, thumbnails: Sequence[str]) -> str:
    pictures, together = record["pictures"], record.get("set") or {}
    columns = [[p.get("p_value") for p in pictures]]
    heads = ["p"]
    if len(adjusted := together.get("adjusted") or []) == len(pictures):
        columns.append(adjusted)
        heads.append(words(language, "set.head.holm"))
    shown = [*thumbnails[: len(pictures)], *[""] * (len(pictures) - len(thumbnails))]
    rows = [
        _row(picture, url, p_values, record, language)
        for picture, url, p_values in zip(pictures, shown, zip(*columns, strict=True), strict=True)
    ]
    first = [words(language, f"set.head.{name}") for name in ("picture", "name", "score")]
    every = [*first, *heads, words(language, "set.head.outcome")]
    return headed_table("set", words(language, "set.title"), every, rows, set(range(2, len(every) - 1)))


def _row(
    picture: Mapping[str, Any],
    url: str,
    p_values: Sequence[float | None],
    record: Mapping[str, Any],
    language: str,
) -> tuple[str, ...]:
    """One picture of a set: thumbnail, name, score, p-values, answer."""
    (key, look), source, name = outcome_of(picture), picture_source(url), outside(file_name(picture["path"]))
    image = "" if source is None else f'<img class="cg-thumbnail" src="{source}" alt="{name}">'
    answer = f'<span class="cg-tag cg-{look}">{glyph(look)} {words(language, key)}</span>'
    more = [picture_sentence(picture, record, language)] if look == "unclear" else []
    more += view_sentences(picture, record, language)
    answer += "".join(f"<br><small>{said}</small>" for said in more)
    return image, name, shown_number(picture["scores"].get(VERDICT_SCORE)), *map(plain_p, p_values), answer
