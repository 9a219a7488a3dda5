"""The exports of a record: which there are, and which it can have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...messages import Note, note
from ..record import Record
from .facts import ExportFacts, read_facts
from .lawyer import lawyer_page
from .notices import civitai_report, hub_report, takedown_notice


@dataclass(frozen=True)
class Export:
    """A text to hand over, or why there is none."""

    name: str  # of `KINDS`
    title: Note
    text: str | None
    refusal: Note | None = None  # why there is no text


@dataclass(frozen=True)
class ExportKind:
    """A kind of text."""

    write: Callable[[ExportFacts], str]
    needs_positive: bool  # it accuses somebody


KINDS: Mapping[str, ExportKind] = {
    "dmca": ExportKind(takedown_notice, True),
    "civitai": ExportKind(civitai_report, True),
    "hub": ExportKind(hub_report, True),
    "lawyer": ExportKind(lawyer_page, False),
}


def exports(record: Record, seal: str | None = None, autov3: Mapping[str, str] | None = None) -> tuple[Export, ...]:
    """Fill in every export of a record; one that would accuse without evidence has a refusal in place of its text.

    Args:
        record: of a run.
        seal: of its bundle, in hex digits.
        autov3: SHA-256 of a file of the suspect -> its AutoV3, where somebody has the file.
    """
    facts = read_facts(record, seal, autov3)
    return tuple(_export(name, kind, facts) for name, kind in KINDS.items())


def _export(name: str, kind: ExportKind, facts: ExportFacts) -> Export:
    title = note(f"evidence.export.title.{name}")
    if kind.needs_positive and not facts.is_positive:
        return Export(name, title, None, note("evidence.export.no_evidence", title=title, outcome=facts.outcome))
    return Export(name, title, kind.write(facts))
