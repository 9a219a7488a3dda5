"""The record of a run: `result.json`, typed. Every other module reads its attributes; the keys stand here alone.

`read_record` checks each value against the types below, so a hostile record ends in a sentence. It also reads the older
format 1, whose sentences become notes that hold the sentence itself. Standard library alone: `verify` needs no more.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..framing.frame import Frame
from ..intake.listing import Publication
from ..messages import Language, Note
from .record_format_1 import upgrade_format_1
from .record_json import find_newer_field, from_json, since, to_json
from .record_settings import ConfigRecord, FramingRecord

# 1: sentences instead of notes, `finetuned`, `path`, `shift`, `power`. 2: no mirror test. 3: no checks, no bank's file.
# 4: no likelihood ratios, anchors, statements, plans, other adapters or language; a bank had no say beside the mirror
# test. 5: the power was a mean over suspects. 6: no bank had scores of the mirror test.
FORMAT = 7
OLDER = (1, 2, 3, 4, 5, 6)  # formats that are read, too
MEAN_POWER = (1, 2, 3, 4, 5)  # formats whose power is stated, since it was a mean
WITHOUT_STATEMENTS = (1, 2, 3, 4)  # formats before statements, known bases, and banks beside the mirror test
WITHOUT_CHECKS = (1, 2, 3)  # formats whose flags are stated alone
OLD_RULES = (1, 2)  # formats of records that were judged by other rules
# field of a record, or of its pictures -> the first format that has it; of later ones see `since`
FIRST_FORMAT = {"checks": 4, "mirror": 3, "framing": 3, "strict_level": 3, "witnesses": 3, "frame": 3}


@dataclass(frozen=True, kw_only=True)
class FlagRecord:
    """A raised flag."""

    name: str
    note: Note  # what it says
    blocks_verdict: bool

    @property
    def condition(self) -> Note:
        """When it is raised: the code of its note with `.raised_if`, and the same parameters."""
        return Note(f"{self.note.code}.raised_if", self.note.params)


@dataclass(frozen=True, kw_only=True)
class WitnessRecord:
    """One test of a picture or a set; a verdict combines them."""

    name: str  # "mirror" or "controls"
    p_value: float | None
    references: int  # scores behind the p-value
    silent: Note | None  # why there is no p-value
    framings: int = 1  # of the picture that were tested; the smallest p-value counts as often


@dataclass(frozen=True, kw_only=True)
class PictureChecksRecord:
    """What the checks of one picture measured; its flags follow from it. See `judging.flags.PictureChecks`."""

    round_trip: float
    gradient_ratio: float | None = None
    unrelated_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class LikelihoodRecord:
    """How much likelier a mirror test's score is of a used picture. See `judging.tables.likelihood_ratio`."""

    ratio: float
    low: float  # with another choice of artists, 19 of 20 times at least this


@dataclass(frozen=True, kw_only=True)
class RunChecksRecord:
    """What the checks of a run measured once for all pictures. See `judging.flags.RunChecks`."""

    base_vs_itself: float
    unrelated_control_scores: tuple[float, ...] = ()
    blind_p_value: float | None = None
    noted_framing: dict[str, Any] | None = None  # `framing.table`, of the suspect's notes
    unused_tensors: int = field(default=0, metadata=since(5))


@dataclass(frozen=True, kw_only=True)
class PictureRecord:
    """One picture: what was given, what was measured, what may be said."""

    name: str  # of the file that was given, without its folders; of older versions, its path
    sha256: str  # of the file's bytes
    notes: tuple[Note, ...]
    scores: dict[str, float | None]  # None: not computed, see below
    not_computed: dict[str, Note]  # score -> why
    score_errors: dict[str, float] = field(default_factory=dict)  # Monte Carlo standard errors of some scores
    p_value: float | None
    outcome: str
    reason: Note
    flags: tuple[FlagRecord, ...]
    view: str
    distance_from_base: float | None  # of the suspect's predictions, as a share of the base's loss
    contrast: tuple[float, ...]  # Eq. 7 per latent entry, of each step
    witnesses: tuple[WitnessRecord, ...] = ()
    frame: Frame | None = None  # which part of the file was looked at; None: its centre square
    checks: PictureChecksRecord | None = None  # None in older formats
    # None: never measured for such a suspect, or nothing was found
    likelihood: LikelihoodRecord | None = field(default=None, metadata=since(5))


@dataclass(frozen=True, kw_only=True)
class UsedRecord:
    """How many pictures of a set were used; both bounds hold together."""

    low: int
    high: int
    bounded_above: bool


@dataclass(frozen=True, kw_only=True)
class SetRecord:
    """The one answer for all pictures together."""

    outcome: str
    p_value: float | None
    reason: Note
    pictures: int
    controls: int
    used: UsedRecord | None
    adjusted: tuple[float | None, ...]  # p-value of each picture, corrected by Holm
    adjusted_bh: tuple[float | None, ...] = ()  # and by Benjamini and Hochberg
    notes: tuple[Note, ...] = ()  # what keeps some pictures out of this answer
    witnesses: tuple[WitnessRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NullGroupRecord:
    """Null scores of an artist's works under one suspect. See `judging.mirror_test.NullGroup`."""

    artist: str
    training: str
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MirrorRecord:
    """What the mirror test compared with."""

    source: str  # "bank", "table" of the base, "own table", or "pictures": reference pictures under the very suspect
    references: int
    sha256: str  # of the table, of all that a bank compares with, or over the reference pictures' own digests
    scores: tuple[float, ...]  # of the reference pictures, a bank's too; those of a table or a bank are not repeated
    # of a table that does not ship: the scores by artist and suspect
    groups: tuple[NullGroupRecord, ...] = field(default=(), metadata=since(5))


@dataclass(frozen=True, kw_only=True)
class BankRecord:
    """The null models that the pictures were judged against."""

    name: str
    sha256: str
    models: int
    pictures: int
    nulls: int
    decoys: bool
    recipe: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """One round of a line-up, with its key."""

    picture: int
    letter: str
    decoys: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LeftOutRecord:
    """A picture without a round."""

    picture: int
    reason: Note


@dataclass(frozen=True, kw_only=True)
class LineupRecord:
    """The rounds of a line-up."""

    rounds: tuple[RoundRecord, ...]
    left_out: tuple[LeftOutRecord, ...]


@dataclass(frozen=True, kw_only=True)
class ControlRecord:
    """A control picture that the bundle holds."""

    name: str
    sha256: str
    image: str  # its file in the bundle
    notes: tuple[Note, ...]
    frame: Frame | None = None  # as of a picture


@dataclass(frozen=True, kw_only=True)
class AnchorRecord:
    """Where a model was read from, and what was stated of it there."""

    location: str  # a repository of the Hub, or "Civitai"
    version: str  # the commit, or the AIR of the version and its file
    published: str | None  # date of that commit or version, as the place states it; ISO 8601
    retrieved: str | None  # when it was looked up; None: it came from a local cache, and nobody was asked
    stated: dict[str, str] = field(default_factory=dict)  # weight file -> SHA-256, as the place states it


@dataclass(frozen=True, kw_only=True)
class ControlStatementRecord:
    """What the user states of one control picture."""

    made_by: str | None = None
    made_on: str | None = None


@dataclass(frozen=True, kw_only=True)
class StatementsRecord:
    """What somebody states about a run, and nothing in it confirms."""

    controls: str | None = None  # who made the control pictures, and when, in the user's words
    of_controls: tuple[ControlStatementRecord, ...] = ()  # of each control picture, in their order; empty: of none
    attempt: int | None = None  # how many-th run of one visit to a page on this suspect it is; None: nobody counted


@dataclass(frozen=True, kw_only=True)
class OtherAdapterRecord:
    """An adapter that base and suspect both had."""

    name: str
    scale: float
    sha256: str  # of its weight files, in their order, with spaces between


@dataclass(frozen=True, kw_only=True)
class ModelsRecord:
    """Base and suspect, as they were named and by what identifies them."""

    base: str
    suspect: str
    prompt: str
    other_prompts: tuple[str, ...] = ()  # that may have been the training's instead: each timestep has one of them all
    embeddings: tuple[str, ...] = ()
    commits: dict[str, str] = field(default_factory=dict)  # "base", "suspect" -> commit on the Hub
    unrelated: str | None = None  # a suspect that must find nothing
    unrelated_sha256: str | None = None
    adapter_alpha: float | None = None  # given for an adapter whose file states none
    warning: Note | None = None  # what speaks against this pair of base and suspect
    configuration: str | None = None  # whose configuration a base in one file used
    remarks: tuple[Note, ...] = ()  # what else the suspect's files tell: parts beside them, which base they name
    notes: tuple[Note, ...] = ()  # what was assumed to load the suspect
    sha256: dict[str, str] = field(default_factory=dict)  # weight file -> SHA-256
    publications: dict[str, Publication] = field(default_factory=dict)  # "base", "suspect" -> version on Civitai
    mirrored_training: bool | None = None  # by the suspect's own notes; None: they do not say, or an older format
    # "base", "suspect" -> where it was read from
    anchors: dict[str, AnchorRecord] = field(default_factory=dict, metadata=since(5))
    base_files: tuple[str, ...] = field(default=(), metadata=since(5))  # the weight files that are the base's
    # the public base that these are, by their digests; None: none that is known
    known_base: str | None = field(default=None, metadata=since(5))
    suspect_scale: float = field(default=1.0, metadata=since(5))  # what the change of an adapter was multiplied by
    others: tuple[OtherAdapterRecord, ...] = field(default=(), metadata=since(5))  # adapters on both sides
    # the suspect was opened as other programs load it, perhaps in part
    as_loaded: bool = field(default=False, metadata=since(5))


@dataclass(frozen=True, kw_only=True)
class CodeRecord:
    """The library that computed."""

    version: str
    sha256: str  # over its sources


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """Where it was computed. It names nobody's computer."""

    device: str
    device_name: str
    precision: str
    threads: int
    system: str
    rows_per_call: int | None = None
    tiles: bool | None = None


@dataclass(frozen=True, kw_only=True)
class StoppedRecord:
    """A run that was put down before its end."""

    step: int
    of: int
    decoys: bool = False  # the pictures are judged; the decoys of the line-up are not yet recovered


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """The plan that a run followed; the bundle holds it."""

    sha256: str  # of the bytes of its file
    attempts: tuple[str, ...]  # when each run of it was begun, this one last; a file beside the plan counts them


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run. Every number of the reports stands here once."""

    format: int  # as it was read; what is written has `FORMAT`
    date: str  # ISO 8601, UTC
    pictures: tuple[PictureRecord, ...]
    set: SetRecord | None
    judged_by: str  # the score that decides
    level: float  # false-positive rate of the positive answers, of both together
    strict_level: float | None = None  # of "consistent"; None: there is no "weak evidence", as in formats 1 and 2
    control_scores: tuple[float, ...]  # of the controls, or the bank's: null residuals, in older records null scores
    bank: BankRecord | None
    # share of used pictures that the tests that were asked find: see `RunPower.expected`; None: never measured
    expected_power: float | None
    lineup: LineupRecord | None
    weight_distance: float | None  # of a full network from its base
    controls: tuple[ControlRecord, ...]
    config: ConfigRecord
    models: ModelsRecord
    code: CodeRecord
    versions: dict[str, str | None]
    machine: MachineRecord
    seconds: float
    stopped: StoppedRecord | None
    mirror: MirrorRecord | None = None  # None: no mirror test, or it was silent
    framing: FramingRecord | None = None  # None: centre squares, in older records
    checks: RunChecksRecord | None = None  # None in older formats
    statements: StatementsRecord | None = field(default=None, metadata=since(5))  # None in older formats
    # None: nobody stated beforehand what is to be run
    plan: PlanRecord | None = field(default=None, metadata=since(5))
    language: Language = field(default="en", metadata=since(5))  # of both reports, and of HOW-TO-CHECK.txt
    control_power: float | None = field(default=None, metadata=since(6))  # by the controls or the bank alone


def record_bytes(record: Record) -> bytes:
    """The bytes of `result.json`, as a run of the record's format wrote them; formats 1 to 3 became more when read."""
    number = None if record.format in WITHOUT_CHECKS else record.format
    return (json.dumps(to_json(record, number), indent=2) + "\n").encode()


def read_record(data: bytes | None, name: str) -> Record:
    """Read the bytes of a `result.json`; `name` is how an error calls it.

    Raises:
        UserError: if it is none, lacks a value or holds one of another type, or a newer version wrote it.
    """
    try:
        table = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise UserError("evidence.no_record", name=name)
    number = table.get("format", 1)
    if isinstance(number, bool) or number not in (*OLDER, FORMAT):
        raise UserError("evidence.newer_record", name=name, format=str(number), known=FORMAT)
    try:
        _check_age(table, number)
        table = upgrade_format_1(table) if number == 1 else table
        record = from_json(Record, table, "record")
        if (newer := find_newer_field(table, to_json(record, number))) is not None:
            raise ValueError(f"record: expected a later format with a value for {newer}, got {number}")
        return record
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("evidence.damaged_record", name=name, problem=str(error)) from error


def _check_age(table: dict[str, Any], number: int) -> None:
    """Refuse a record that states an older format than its own values have: fewer of them would then be checked."""
    pictures = [p for p in table.get("pictures", ()) if isinstance(p, dict)]
    for field_name, first in FIRST_FORMAT.items():
        if number < first and any(field_name in part for part in (table, *pictures)):
            raise ValueError(f"record: expected format {first} or later with a value for {field_name}, got {number}")
