"""The summary of several suspects: which of them knows each picture, from the bundle of evidence of each.

Every suspect has a bundle of its own, which says what was done, and can be verified and run again by itself. The
summary, `suspects.json`, names the bundles by their seals. All else in it follows from their records; so `verify` makes
it again, and compares the bytes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from ...errors import UserError
from ...judging.result import MIRROR_CONTRAST
from ...judging.verdict import LEVEL, is_positive
from ...messages import Note, note
from ...messages.text import single_line
from ..record import ModelsRecord, PictureRecord, Record, SetRecord
from ..record_json import from_json, to_json
from ..reports.blocks import Block, Heading, Items, Table, Text
from ..typesetting.html import report_html
from .correction import FIRST, Answer, choose_first, correct_for_suspects, names_first_alone, smallest_p_value

FORMAT = 1
PAGE = "suspects.html"
Several = Literal["stack", "versions"]  # used together; alternatives of one another
LONGEST = 300  # characters of a name
MOST_SUSPECTS = 50


@dataclass(frozen=True, kw_only=True)
class SuspectRecord:
    """One suspect, and where the evidence about it is."""

    folder: str
    seal: str  # SHA-256 of its manifest
    name: str
    scale: float


@dataclass(frozen=True, kw_only=True)
class QuestionRecord:
    """The answers of all suspects about one picture, or about all pictures together."""

    picture: str | None  # None: all of them together
    sha256: str | None
    p_values: tuple[float | None, ...]  # of each suspect, as if it were the only one
    contrasts: tuple[float | None, ...]  # the mean over picture and mirror image: the largest is tested first
    first: int | None  # its place, from 0; None: all have the same share of the level
    adjusted: tuple[float | None, ...]  # corrected for their number
    outcomes: tuple[str, ...]  # by the adjusted p-values
    any: str  # the outcome for "one of them at least"
    reason: Note


@dataclass(frozen=True, kw_only=True)
class SummaryRecord:
    """What `suspects.json` holds."""

    format: int
    several: Several
    suspects: tuple[SuspectRecord, ...]
    questions: tuple[QuestionRecord, ...]
    notes: tuple[Note, ...] = ()


def summarise(several: Several, bundles: Sequence[tuple[str, str, Record]]) -> SummaryRecord:
    """Derive the summary from the records of all suspects.

    Args:
        several: how the suspects belong together.
        bundles: folder, seal and record of each suspect.

    Raises:
        UserError: if the records are not about the same pictures, base and settings.
    """
    records = [record for _, _, record in bundles]
    _check_common(bundles)
    names = tuple(_named(r.models) for r in records)
    pictures = [*zip(*(r.pictures for r in records), strict=True)]
    questions = [_question(several, names, p, [_contrast([one]) for one in p], p[0]) for p in pictures]
    sets = [r.set for r in records if r.set is not None]
    if len(sets) == len(records):
        questions.append(_question(several, names, sets, [_contrast(r.pictures) for r in records]))
    ordered = any(q.first is not None for q in questions)
    references_of = [w.references for r in records for w in r.pictures[0].witnesses]
    least = min(smallest_p_value(references, len(records), ordered) for references in references_of)
    notes = [note("evidence.suspects.out_of_reach", least=least, count=len(records))] if least > LEVEL else []
    if ordered and not notes and names_first_alone(max(references_of), len(records)):
        notes.append(note("evidence.suspects.first_alone", references=max(references_of), count=len(records)))
    suspects = tuple(
        SuspectRecord(folder=folder, seal=seal, name=r.models.suspect, scale=r.models.suspect_scale)
        for folder, seal, r in bundles
    )
    return SummaryRecord(
        format=FORMAT, several=several, suspects=suspects, questions=tuple(questions), notes=tuple(notes)
    )


def summary_bytes(summary: SummaryRecord) -> bytes:
    """The bytes of `suspects.json`."""
    return (json.dumps(to_json(summary), indent=2) + "\n").encode()


def read_summary(data: bytes, name: str) -> SummaryRecord:
    """Read the bytes of a `suspects.json`.

    Raises:
        UserError: if they hold none.
    """
    try:
        table: Any = json.loads(data)
        found = from_json(SummaryRecord, table, "summary")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("evidence.suspects.damaged_summary", name=name, problem=single_line(str(error))) from error
    if found.format != FORMAT or not 1 < len(found.suspects) <= MOST_SUSPECTS:
        raise UserError("evidence.suspects.damaged_summary", name=name, problem=f"format {found.format}")
    return found


def summary_page(summary: SummaryRecord) -> str:
    """The summary as a web page."""
    return report_html(list(_blocks(summary)), _no_picture)


def summary_lines(summary: SummaryRecord) -> list[str]:
    """The summary as lines of text."""
    lines = [f"{i}: {_at_scale(s)}, {s.folder}" for i, s in enumerate(summary.suspects, 1)]
    for q in summary.questions:
        p_values = ", ".join(
            f"{i}: {_p(p)} (corrected {_p(a)}{_first(q, i)})"
            for i, (p, a) in enumerate(zip(q.p_values, q.adjusted, strict=True), 1)
        )
        lines += [f"{_asked_about(q)}: {q.any}; p = {p_values}", f"    {q.reason}"]
    return [*lines, *map(str, summary.notes)]


def _blocks(summary: SummaryRecord) -> list[Block]:
    stack = summary.several == "stack"
    title = "Which LoRA of the stack knows the picture?" if stack else "Does one of these versions know the picture?"
    blocks: list[Block] = [
        Heading(title, 1),
        Text(str(note(f"evidence.suspects.how_{summary.several}"))),
        Heading("Answer"),
    ]
    for q in summary.questions:
        blocks += [Text(f"{_asked_about(q)}: {q.any}", strong=True), Text(str(q.reason))]
        rows = [
            (f"{i}", f"{_at_scale(s)}{_first(q, i)}", _p(p), _p(a), outcome)
            for i, (s, p, a, outcome) in enumerate(
                zip(summary.suspects, q.p_values, q.adjusted, q.outcomes, strict=True), 1
            )
        ]
        head = ("", "Suspect", "p by itself", "p, corrected", "Answer, corrected")
        blocks.append(Table((head, *rows), (1, 6, 2, 2, 5), head=True))
    blocks.append(Heading("What this rests on"))
    blocks.append(Text(str(note("evidence.suspects.correction", count=len(summary.suspects), level=LEVEL))))
    if any(q.first is not None for q in summary.questions):
        blocks.append(Text(str(note("evidence.suspects.ordered", share=FIRST / (FIRST + 1)))))
    if summary.notes:
        blocks.append(Items(tuple(map(str, summary.notes))))
    rows = [(s.folder, s.seal) for s in summary.suspects]
    blocks.append(
        Table((("Bundle of evidence", "Seal: SHA-256 of its manifest.json"), *rows), (2, 3), head=True, code=True)
    )
    return blocks


def _question(
    several: Several,
    names: Sequence[str],
    answers: Sequence[PictureRecord] | Sequence[SetRecord],
    contrasts: Sequence[float | None],
    picture: PictureRecord | None = None,
) -> QuestionRecord:
    tested_first = choose_first(contrasts) if all(map(_rests_on_mirror, answers)) else None
    corrected = correct_for_suspects([Answer(outcome=a.outcome, p_value=a.p_value) for a in answers], tested_first)
    found = [name for name, a in zip(names, corrected, strict=True) if is_positive(a.outcome)]
    p = min((a.p_value for a in corrected if a.p_value is not None), default=None)
    if found:
        strongest = min(
            (a for a in corrected if is_positive(a.outcome)), key=lambda a: 1.0 if a.p_value is None else a.p_value
        )
        together, reason = (
            strongest.outcome,
            note(f"evidence.suspects.named_{several}", names=found, count=len(names), p=p),
        )
    elif all(a.outcome == "no evidence" for a in corrected):
        together, reason = "no evidence", note(f"evidence.suspects.none_{several}", count=len(names))
    elif p is None:
        together, reason = "cannot tell", note(f"evidence.suspects.unknown_{several}", count=len(names))
    else:
        first = next(name for name, a in zip(names, corrected, strict=True) if a.p_value == p)
        together = "cannot tell"
        reason = note(f"evidence.suspects.open_{several}", count=len(names), first=first, p=p)
    return QuestionRecord(
        picture=None if picture is None else picture.name,
        sha256=None if picture is None else picture.sha256,
        p_values=tuple(a.p_value for a in answers),
        contrasts=tuple(contrasts),
        first=tested_first,
        adjusted=tuple(a.p_value for a in corrected),
        outcomes=tuple(a.outcome for a in corrected),
        any=together,
        reason=reason,
    )


def _check_common(bundles: Sequence[tuple[str, str, Record]]) -> None:
    """Refuse records that differ in more than the suspect."""
    parts: dict[str, Callable[[Record], Any]] = {
        "pictures": lambda r: [p.sha256 for p in r.pictures],
        "controls": lambda r: [c.sha256 for c in r.controls],
        "config": lambda r: r.config,
        "base": lambda r: r.models.base,
        "others": lambda r: r.models.others,
        "prompt": lambda r: (r.models.prompt, *r.models.other_prompts),
        "code": lambda r: r.code,
    }
    first = bundles[0][2]
    for folder, _, record in bundles:
        for what, part in parts.items():
            if part(record) != part(first):
                raise UserError("evidence.suspects.not_common", what=what, folder=folder)


def _contrast(pictures: Sequence[PictureRecord]) -> float | None:
    """The mean contrast of pictures and mirror images; None where one was not measured."""
    found = [p.scores.get(MIRROR_CONTRAST) for p in pictures]
    known = [c for c in found if c is not None]
    return fmean(known) if len(known) == len(found) else None


def _rests_on_mirror(answer: PictureRecord | SetRecord) -> bool:
    """Whether an answer's p-value is the mirror test's: any other depends on the contrast itself."""
    mirror = next((w.p_value for w in answer.witnesses if w.name == "mirror"), None)
    return answer.p_value is None or answer.p_value == mirror


def _named(models: ModelsRecord) -> str:
    return models.suspect if models.suspect_scale == 1 else f"{models.suspect}@{models.suspect_scale:g}"


def _at_scale(suspect: SuspectRecord) -> str:
    return single_line(f"{suspect.name} at scale {suspect.scale:g}", LONGEST)


def _first(question: QuestionRecord, number: int) -> str:
    return ", tested first" if question.first == number - 1 else ""


def _asked_about(question: QuestionRecord) -> str:
    return "all pictures together" if question.picture is None else single_line(question.picture, LONGEST)


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _no_picture(name: str) -> bytes:
    raise AssertionError(f"the summary has no picture, asked for {name}")
