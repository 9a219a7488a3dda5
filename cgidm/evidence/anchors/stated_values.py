"""What a record only states: nothing confirms it, but a run writes values of one kind there, and no others.

A report prints them, in the voice of this tool. So a name is no longer than a file's may be, a digest has the digits of
one, and a note is one of those that the room in question writes: no sentence of somebody's own stands among them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from string import Formatter
from typing import Any

from ...intake.source import is_scale
from ...messages import Note, english
from ..differences import Difference
from ..record import WITHOUT_STATEMENTS, Record

LONGEST_NAME = 255  # characters of a picture file's name
LEAST_WORDS = 12  # characters of a note's own sentence, without its parameters
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{4,64}", re.ASCII)
LOCATION = re.compile(r"[\w.:@/+~-]{1,200}", re.ASCII)  # a repository, a commit or an AIR
VERSION = re.compile(r"[\w.+!-]{1,64}", re.ASCII)
WORD = re.compile(r"\w{0,40}", re.ASCII)
LONGEST_MACHINE = 160  # characters of a processor's name
# where notes stand -> how their codes begin
OF_PICTURES = ("pictures.",)
OF_MODELS = ("intake.", "families.")
OF_MISSING = ("evidence.not_requested", "pictures.")


def odd_statements(record: Record) -> Iterator[Difference]:
    """Yield each value that only a record states, and that no run would write there."""
    yield from _of_statements(record)
    yield from _of_unrelated(record)
    yield from _of_others(record)
    yield from _identifiers(record)
    yield from _notes(record)


def _of_statements(record: Record) -> Iterator[Difference]:
    """What is stated: of every control picture or of none, and of files that are there."""
    stated = () if record.statements is None else record.statements.of_controls
    if len(stated) not in (0, len(record.controls)):
        yield Difference("statements.of_controls", len(stated), len(record.controls))
    if strange := [f for f in record.models.base_files if f not in record.models.sha256]:
        yield Difference("models.base_files", strange, list(record.models.sha256))
    if record.statements is not None and record.statements.attempt is not None and record.statements.attempt < 1:
        yield Difference("statements.attempt", record.statements.attempt, "1 or more")


def _of_unrelated(record: Record) -> Iterator[Difference]:
    """The unrelated model: named, identified and asked, or nothing of it."""
    named, models = record.models.unrelated is not None, record.models
    if named != (models.unrelated_sha256 is not None):
        yield Difference("models.unrelated_sha256", models.unrelated_sha256, "a digest" if named else None)
    if record.checks is None:
        return
    for i, p in enumerate(record.pictures):
        if p.checks is not None and named != (p.checks.unrelated_score is not None):
            wanted = "a score" if named else None
            yield Difference(f"pictures[{i}].checks.unrelated_score", p.checks.unrelated_score, wanted)
    scores, expected = record.checks.unrelated_control_scores, len(record.control_scores) if named else 0
    if len(scores) != expected:
        yield Difference("checks.unrelated_control_scores", len(scores), expected)


def _of_others(record: Record) -> Iterator[Difference]:
    """The adapters on both sides: their files are among the weights. A scale is not 0, and has few digits."""
    known = set(record.models.sha256.values())
    for i, other in enumerate(record.models.others):
        if not set(other.sha256.split()) or not set(other.sha256.split()) <= known:
            yield Difference(f"models.others[{i}].sha256", other.sha256, "digests of models.sha256")
        if not is_scale(other.scale):
            yield Difference(f"models.others[{i}].scale", other.scale, "a scale")
    if not is_scale(record.models.suspect_scale) or record.models.suspect_scale < 0:
        yield Difference("models.suspect_scale", record.models.suspect_scale, "a scale above 0")


def _identifiers(record: Record) -> Iterator[Difference]:
    """Digests, places, versions and names that are none."""
    models, machine = record.models, record.machine
    yield from _all(SHA256, _digests(record), "a SHA-256")
    yield from _all(SHA256, {"models.unrelated_sha256": models.unrelated_sha256}, "SHA-256 digests", words=True)
    yield from _all(COMMIT, {f"models.commits.{role}": c for role, c in models.commits.items()}, "a commit")
    for role, anchor in models.anchors.items():
        where = f"models.anchors.{role}"
        yield from _all(LOCATION, {f"{where}.location": anchor.location, f"{where}.version": anchor.version}, "a place")
        dates = {f"{where}.published": anchor.published, f"{where}.retrieved": anchor.retrieved}
        yield from (Difference(name, date, "a date") for name, date in dates.items() if not _is_date(date))
    yield from _all(VERSION, {"code.version": record.code.version}, "a version")
    yield from _all(VERSION, {f"versions.{name}": v for name, v in record.versions.items()}, "a version")
    yield from _all(VERSION, {f"versions.{name}": name for name in record.versions}, "the name of a package")
    yield from _all(WORD, {"machine.device": machine.device, "machine.precision": machine.precision}, "a word")
    longest = {f"machine.{name}": LONGEST_MACHINE for name in ("device_name", "system")}
    longest |= {f"{kind}[{i}].name": LONGEST_NAME for kind, i, _ in _pictures(record)}
    texts = {f"machine.{name}": str(getattr(machine, name)) for name in ("device_name", "system")}
    texts |= {f"{kind}[{i}].name": p.name for kind, i, p in _pictures(record)}
    for where, text in texts.items():
        if len(text) > longest[where]:
            yield Difference(where, f"{len(text)} characters", f"at most {longest[where]}")


def _digests(record: Record) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {f"{kind}[{i}].sha256": p.sha256 for kind, i, p in _pictures(record)}
    found |= {f"models.sha256.{file}": digest for file, digest in record.models.sha256.items()}
    found |= {
        f"models.anchors.{role}.stated.{file}": digest
        for role, anchor in record.models.anchors.items()
        for file, digest in anchor.stated.items()
    }
    return found | {"code.sha256": record.code.sha256}


def _notes(record: Record) -> Iterator[Difference]:
    """Notes that no run writes in their place: of another room, of no sentence, or with other parameters.

    Of older formats the room alone is compared: their sentences may have had other codes.
    """
    older = record.format in WITHOUT_STATEMENTS
    for kind, i, picture in _pictures(record):
        yield from _odd_notes(f"{kind}[{i}].notes", picture.notes, OF_PICTURES, older)
    for i, picture in enumerate(record.pictures):
        for score, why in picture.not_computed.items():
            yield from _odd_notes(f"pictures[{i}].not_computed.{score}", [why], OF_MISSING, older)
    models = record.models
    warning = () if models.warning is None else (models.warning,)
    for name, notes in {"remarks": models.remarks, "notes": models.notes, "warning": warning}.items():
        yield from _odd_notes(f"models.{name}", notes, OF_MODELS, older)


def _odd_notes(where: str, notes: Iterable[Note], beginnings: tuple[str, ...], older: bool) -> Iterator[Difference]:
    for note in notes:
        sentence = english().get(note.code, "")
        parts = list(Formatter().parse(sentence))
        fields = {re.split(r"[.\[]", name)[0] for _, name, _, _ in parts if name is not None}
        words = sum(len(text) for text, _, _, _ in parts)
        is_sentence = words >= LEAST_WORDS and fields <= note.params.keys()
        if not note.code.startswith(beginnings) or not (older or is_sentence):
            yield Difference(where, note.code, "a note that a run writes there")


def _pictures(record: Record) -> Iterator[tuple[str, int, Any]]:
    yield from (("pictures", i, p) for i, p in enumerate(record.pictures))
    yield from (("controls", i, c) for i, c in enumerate(record.controls))


def _all(
    pattern: re.Pattern[str], values: Mapping[str, str | None], wanted: str, *, words: bool = False
) -> Iterator[Difference]:
    for where, value in values.items():
        parts = [] if value is None else value.split() if words else [value]
        if not all(pattern.fullmatch(part) for part in parts):
            yield Difference(where, value, wanted)


def _is_date(text: str | None) -> bool:
    try:
        return text is None or datetime.fromisoformat(text) is not None
    except ValueError:
        return False
