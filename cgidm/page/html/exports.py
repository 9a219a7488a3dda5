"""A text to hand over, or why there is none for this answer: what `cgidm export` writes, on the page."""

from cgidm.evidence.exports.catalogue import KINDS, Export
from cgidm.evidence.record import Record

from .i18n import translate
from .markup import html_text, outcome_style, wrap_page

EXPORT_KINDS = tuple(KINDS)


def export_note_html(export: Export, record: Record, language: str) -> str:
    """Say what the text is for, or why there is none."""
    if export.text is not None:
        return wrap_page([f'<p role="status">{html_text(language, f"export.about.{export.name}")}</p>'], language)
    key, _ = outcome_style(record.set or record.pictures[0])
    sentence = html_text(language, "export.refused", outcome=translate(language, key))
    return wrap_page([f'<p class="cg-error" role="alert">{sentence}</p>'], language)
