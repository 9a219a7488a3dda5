"""A sentence of a report in the language of its record; what no language has is said in English."""

import re
from typing import Any

from ...messages import Language, Note, english, render, translations
from ...messages.text import single_line
from ..record import Record

LONGEST = 600  # characters of a text from outside
SILENT = "no evidence"
OWN_TABLE = "own table"  # what a record calls null scores that were handed over
# what the mirror test was measured with, as a record calls it -> as a code does
MIRROR_SOURCES = {"bank": "bank", "table": "table", OWN_TABLE: "own_table", "pictures": "pictures"}
OUTCOMES = {  # outcome of a record -> its sentence
    "consistent with training on this image": "report.outcome.consistent",
    "consistent with training on some of these images": "report.outcome.set",
    "weak evidence": "report.outcome.weak",
    "no evidence": "report.outcome.none",
    "cannot tell": "report.outcome.unclear",
}


def text(record: Record, code: str, **params: Any) -> str:
    """The sentence of a code."""
    return text_in(record.language, code, **params)


def text_in(language: Language, code: str, **params: Any) -> str:
    """The same, where there is no record."""
    return render(code, params, translations(language))


def note_text(record: Record, note: object) -> str:
    """What a note says; any other value as it is written."""
    said = render(note.code, note.params, translations(record.language)) if isinstance(note, Note) else str(note)
    return single_line(said, LONGEST)


def quotable(name: str) -> str:
    """A name from outside, without the marks that end a quotation: what follows them would read as the report's own."""
    return single_line(re.sub("[“”„‟«»「」『』]", '"', name), LONGEST)


def known_text(record: Record, code: str) -> str:
    """The sentence of a code that may be of another version; nothing, if there is none."""
    return text(record, code) if code in english() else ""


def outcome_text(record: Record, outcome: str) -> str:
    """What an answer is called."""
    return text(record, OUTCOMES[outcome]) if outcome in OUTCOMES else single_line(outcome, LONGEST)
