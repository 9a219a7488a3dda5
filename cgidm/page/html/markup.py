"""Pieces of HTML that every answer is made of. Every text from outside is cleaned and escaped here."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from cgidm.evidence.record import PictureRecord, SetRecord
from cgidm.messages import LONGEST, Note
from cgidm.messages.text import single_line

from .i18n import LANGUAGES, has_translation, message_tables, translate, translate_if_known, translate_note
from .svg import finite_values, format_number

OUTCOMES = {  # outcome of a record -> key of its text, and name of its style; any other is "unclear"
    "consistent with training on this image": ("outcome.consistent", "consistent"),
    "consistent with training on some of these images": ("outcome.set", "consistent"),
    "weak evidence": ("outcome.weak", "weak"),
    "no evidence": ("outcome.none", "none"),
}
GLYPHS = {"consistent": "●", "weak": "◐", "none": "○", "unclear": "?", "stopped": "■"}


def html_text(language: str, key: str, **values: Any) -> str:
    """Return a text of the page as HTML; values that are texts are cleaned first."""
    cleaned = {k: single_line(v) if isinstance(v, str) else v for k, v in values.items()}
    return escape(translate(language, key, **cleaned))


def html_text_if_known(language: str, key: str) -> str | None:
    """Return a text of the page as HTML, by a key that came from a record; None if there is no such text."""
    known = translate_if_known(language, key)
    return None if known is None else escape(known)


def note_html(note: Note, language: str) -> str:
    """Return what a note says as HTML, marked as English where the visitor's language has no sentence for it."""
    sentence = escape(single_line(translate_note(language, note), 2 * LONGEST))
    if language in message_tables() and not has_translation(language, note):
        return f'<span lang="en">{sentence}</span>'
    return sentence


def escape_untrusted(value: Any) -> str:
    """Return a value from outside as HTML: one line of printable characters, at most 200 of them."""
    return escape(single_line(str(value)))


def number_or_dash(value: float | None) -> str:
    """Format a number for the reader; a dash stands for one that is missing or not finite."""
    known = finite_values([value])
    return format_number(known[0]) if known else "—"


def format_p_value(p: float | None) -> str:
    """Format a p-value with three significant digits; a dash stands for a missing one."""
    return "—" if p is None else f"{p:.3g}"


def file_name(path: str) -> str:
    """Return the last part of a path of any system."""
    return re.split(r"[/\\]", path)[-1]


def picture_source(url: str) -> str | None:
    """Return a picture's address if it is a path of this site or a data URL: no other host is asked for it."""
    if re.fullmatch(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=]+", url):
        return url
    if re.match(r"/(?![/\\])", url):
        return escape(quote(url, safe="/=?&%:.~-_,@+"))
    return None


def outcome_style(judged: PictureRecord | SetRecord) -> tuple[str, str]:
    """Return the key of an outcome's text, and the name of its style."""
    return OUTCOMES.get(judged.outcome, ("outcome.unclear", "unclear"))


def glyph(style: str) -> str:
    """Return the shape of an outcome, so that it can be read without its colour."""
    return f'<span class="cg-glyph" aria-hidden="true">{GLYPHS[style]}</span>'


def wrap_page(parts: Sequence[str], language: str) -> str:
    """Join the parts of an answer in one element that states their language."""
    code = language if language in LANGUAGES else "en"
    return f'<div class="cg" lang="{code}">{"".join(parts)}</div>'


def card(style: str, title: str, lines: Sequence[str], about: str = "") -> str:
    """Return the answer itself: a shape, a title, what it is about, then lines of which the first says why.

    All texts are HTML.
    """
    rest = "".join(f"<p>{line}</p>" for line in lines)
    head = f'<h3 class="cg-outcome" tabindex="-1">{glyph(style)} <strong>{title}</strong></h3>'
    return f'<section class="cg-card cg-{style}" role="status">{head}{about}{rest}</section>'


def bullets(items: Sequence[str]) -> str:
    """Return a list; all items are HTML."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def headed_table(
    name: str, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], number_columns: set[int]
) -> str:
    """Return a table under a heading that scrolls inside its own frame; all texts are HTML."""
    looks = [f' class="cg-number" data-head="{head}"' if i in number_columns else "" for i, head in enumerate(heads)]
    top = "".join(f'<th scope="col"{look}>{head}</th>' for head, look in zip(heads, looks, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{look}>{cell}</td>" for cell, look in zip(row, looks, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<h3>{title}</h3><div class="cg-scroll cg-{name}" role="region" tabindex="0" aria-label="{title}">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )
