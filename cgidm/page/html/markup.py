"""Pieces of HTML that every part of an answer is made of. Every text from outside is cleaned and escaped here."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from cgidm.text import single_line

from .i18n import say, say_if_known, table
from .svg import finite, number

OUTCOMES = {  # of a record -> the key of its words and the name of its looks; any other is "unclear"
    "consistent with training on this image": ("outcome.consistent", "consistent"),
    "consistent with training on some of these images": ("outcome.set", "consistent"),
    "no evidence": ("outcome.none", "none"),
}
GLYPHS = {"consistent": "●", "none": "○", "unclear": "?", "stopped": "■"}


def words(language: str, key: str, **values: Any) -> str:
    """The words of a key as HTML; what is filled in is cleaned first."""
    return escape(say(language, key, **{k: single_line(v) if isinstance(v, str) else v for k, v in values.items()}))


def words_if_known(language: str, key: str) -> str | None:
    """The same of a key that came from a record, if there are such words."""
    known = say_if_known(language, key)
    return None if known is None else escape(known)


def outside(value: Any) -> str:
    """What came from outside, as HTML: one line, printable characters alone, not too long."""
    return escape(single_line(str(value)))


def english(value: Any) -> str:
    """A sentence of a record, which is English on every page."""
    return f'<span lang="en">{outside(value)}</span>'


def as_number(value: Any) -> float | None:
    """A number of a record; None for whatever else stands in its place."""
    return float(value) if isinstance(value, int | float) else None


def shown_number(value: Any) -> str:
    """A number for the reader, or a dash."""
    known = finite([as_number(value)])
    return number(known[0]) if known else "—"


def plain_p(p: float | None) -> str:
    """A p-value with three digits that count, or a dash."""
    return "—" if p is None else f"{p:.3g}"


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[/\\]", path)[-1]


def picture_source(url: str) -> str | None:
    """A picture's address, if it is a path of this site or a picture in itself; nothing is asked of another host."""
    if re.fullmatch(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=]+", url):
        return url
    if re.match(r"/(?![/\\])", url):
        return escape(quote(url, safe="/=?&%:.~-_,@+"))
    return None


def outcome_of(judged: Mapping[str, Any]) -> tuple[str, str]:
    """The key of an outcome's words, and the name of its looks."""
    return OUTCOMES.get(judged.get("outcome", ""), ("outcome.unclear", "unclear"))


def glyph(look: str) -> str:
    """The shape of an outcome, so that it does not hang on a colour."""
    return f'<span class="cg-glyph" aria-hidden="true">{GLYPHS[look]}</span>'


def whole(parts: Sequence[str], language: str) -> str:
    """All parts together, in the language that they are in."""
    code = language if table(language) is not table("en") else "en"
    return f'<div class="cg" lang="{code}">{"".join(parts)}</div>'


def card(look: str, title: str, lines: Sequence[str]) -> str:
    """The answer itself: words and a shape; all of it HTML. The first line says why, the others what it is worth."""
    rest = "".join(f"<p>{line}</p>" for line in lines)
    head = f'<p class="cg-outcome">{glyph(look)} <strong>{title}</strong></p>'
    return f'<section class="cg-card cg-{look}" role="status">{head}{rest}</section>'


def bullets(items: Sequence[str]) -> str:
    """A list; all items are HTML."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def headed_table(name: str, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int]) -> str:
    """A headed table that scrolls inside its own frame; all texts are HTML. `numbers`: the columns of numbers."""
    look = [f' class="cg-number" data-head="{named}"' if i in numbers else "" for i, named in enumerate(heads)]
    head = "".join(f'<th scope="col"{c}>{named}</th>' for named, c in zip(heads, look, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{c}>{cell}</td>" for cell, c in zip(row, look, strict=True)) + "</tr>" for row in rows
    )
    return (
        f'<h3>{title}</h3><div class="cg-scroll cg-{name}" role="region" tabindex="0" aria-label="{title}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
