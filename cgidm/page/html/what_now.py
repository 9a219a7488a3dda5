"""What somebody can do with an answer, as HTML: keep the evidence, have it checked, say that it is wrong."""

import os
from html import escape
from urllib.parse import urlsplit

from cgidm.evidence.record import Record

from .markup import bullets, html_text, outcome_style, wrap_page

CONTACT = "CGIDM_CONTACT"  # where the operator wants to hear of wrong answers: an address of mail or of a page


def what_now_html(record: Record, language: str) -> str:
    """List the next steps after an answer, by what it says."""
    key, style = outcome_style(record.set or record.pictures[0])
    about = "now.set" if key == "outcome.set" else f"now.{style}"
    lines = [html_text(language, about), html_text(language, "now.zip"), html_text(language, "now.seal")]
    if bank_would_help(record):
        lines.append(html_text(language, "now.bank"))
    lines.append(_wrong(language))
    return wrap_page([bullets(lines)], language)


def bank_would_help(record: Record) -> bool:
    """Tell whether more power is the issue, and no bank was asked yet."""
    _, style = outcome_style(record.set or record.pictures[0])
    return record.bank is None and style != "consistent"


def contact_address() -> str | None:
    """Return where the operator hears of wrong answers, as an address to click; None if nowhere is stated."""
    stated, space = os.environ.get(CONTACT, "").strip(), os.environ.get("SPACE_ID", "").strip()
    if "@" in stated and "/" not in stated and not any(c.isspace() for c in stated):
        return f"mailto:{stated}"
    if urlsplit(stated).scheme in ("http", "https"):
        return stated
    return f"https://huggingface.co/spaces/{space}/discussions" if space else None


def _wrong(language: str) -> str:
    address = contact_address()
    if address is None:
        return html_text(language, "now.wrong.operator")
    link = (
        f'<a href="{escape(address)}" target="_blank" rel="noopener noreferrer">{html_text(language, "now.wrong")}</a>'
    )
    return f"{link} {html_text(language, 'now.wrong.about')}"
