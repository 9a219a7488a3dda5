"""From a result to its record, and from a record back to what a repeated run needs."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..framing.table import framing_to_table
from ..intake.layout import Checkpoint
from ..intake.listing import Publication
from ..judging.checks import name_known_base
from ..judging.flags import RunChecks
from ..judging.lineup import Lineup, parse_lineup
from ..judging.mirror_test import MirrorReference, NullGroup
from ..judging.result import PictureResult, Result
from ..judging.verdict import LEVEL, STRICT_LEVEL, Witness
from ..messages import Note, note
from ..method.config import RecoveryConfig, RunConfig
from ..pictures.embedders import SOURCES
from ..pictures.images import Picture
from ..run.provenance import describe_code, package_versions
from .lineup_sheet import ROLES
from .record import (
    FORMAT,
    AnchorRecord,
    BankRecord,
    CodeRecord,
    ControlRecord,
    FlagRecord,
    LikelihoodRecord,
    LineupRecord,
    MachineRecord,
    MirrorRecord,
    ModelsRecord,
    NullGroupRecord,
    OtherAdapterRecord,
    PictureChecksRecord,
    PictureRecord,
    Record,
    RunChecksRecord,
    SetRecord,
    StatementsRecord,
    StoppedRecord,
    UsedRecord,
    WitnessRecord,
)
from .record_json import from_json, to_json
from .record_settings import ConfigRecord, FramingRecord, RecoveryRecord

# of anybody, on any system, wherever it is mounted: at the beginning of a text, and inside one, where a space ends it
HOME = re.compile(r"^(?:/root|/?(?:[A-Za-z]:)?(?:[\\/][^\\/]+)*?[\\/](?:home|(?i:users))[\\/][^\\/]+)(?=[\\/]|$)")
END = r"(?=[\\/\s\"'“”,;:)\]]|$)"
HOME_INSIDE = re.compile(
    r"(?:(?<![\w./\\~-])|(?<=file://))(?:/root|(?:[A-Za-z]:)?(?:[\\/][^\\/\s]+)*?[\\/](?:home|(?i:users))[\\/][^\\/\s\"'“”,;:)\]]+)"
    rf"{END}"
)
NO_NAMES = {"root", "home", "user", "users", "data", "tmp", "app", "ubuntu"}  # of accounts that name nobody
CIVITAI = "Civitai"  # the place of an anchor that is no repository of the Hub
MIRRORED = "mirrored"  # the role of what was recovered from the mirror image


def image_roles(record: Record) -> tuple[str, ...]:
    """The roles of a picture's images in a bundle."""
    return (*ROLES, MIRRORED) if record.config.mirrored_recovery else ROLES


def image_name(number: int, role: str) -> str:
    """The file of a picture's role in a folder of evidence."""
    return f"{number:02d}-{role}.png"


def square_name(file: str) -> str:
    """The file of the centre square of a picture or control that was also looked at as one; `file`: of its frame."""
    return file.removesuffix("-original.png").removesuffix(".png") + "-square.png"


def file_name(path: str) -> str:
    """A file's name without its folders, of any system: they tell of whoever runs, and of no picture."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path


def control_name(number: int) -> str:
    """The file of a control picture."""
    return f"controls/{number:03d}.png"


def make_record(
    result: Result,
    models: ModelsRecord,
    controls: Sequence[Picture] = (),
    statements: StatementsRecord | None = None,
) -> Record:
    """Make the record of a run. A score that was not computed is None, with the reason beside it.

    Args:
        result: the run; one that was stopped has no verdicts.
        models: how base and suspect were named; their digests and notes are added from the result.
        controls: the control pictures that the bundle will hold.
        statements: what the user, or a page, states of the run.
    """
    done, of = len(result.pictures[0].contrast), result.config.recovery.steps
    code = describe_code()
    return Record(
        format=FORMAT,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        pictures=tuple(_picture_record(r, result) for r in result.pictures),
        set=_set_record(result),
        judged_by=result.judged_by,
        level=LEVEL,
        strict_level=STRICT_LEVEL,
        control_scores=result.control_scores,
        bank=None if result.bank is None else BankRecord(**result.bank.describe()),
        expected_power=result.expected_power,
        control_power=result.control_power,
        lineup=None if result.lineup is None else from_json(LineupRecord, to_json(result.lineup), "lineup"),
        weight_distance=result.weight_distance,
        controls=tuple(
            ControlRecord(name=file_name(c.name), sha256=c.sha256, image=control_name(i), notes=c.notes, frame=c.frame)
            for i, c in enumerate(controls)
        ),
        config=_config_record(result.config),
        models=dataclasses.replace(
            models,
            sha256=dict(result.fingerprints),
            mirrored_training=result.mirrored_training,
            notes=result.notes,
            base_files=result.base_files,
            known_base=name_known_base(result.fingerprints, result.base_files),
            suspect_scale=result.suspect_scale,
            others=tuple(OtherAdapterRecord(**vars(o)) for o in result.others),
            as_loaded=result.as_loaded,
        ),
        code=CodeRecord(version=code["version"], sha256=code["sha256"]),
        versions=package_versions(),
        machine=MachineRecord(**result.machine),
        seconds=round(result.seconds, 2),
        stopped=StoppedRecord(step=done, of=of) if done < of else None,
        mirror=_mirror_record(result),
        framing=None
        if result.framing is None
        else FramingRecord(rule=framing_to_table(result.framing), guessed=result.framing_is_guessed),
        checks=_run_checks_record(result.checks),
        statements=statements or StatementsRecord(),
    )


def without_homes(record: Record, own: Path | None = None) -> Record:
    """Write "~" for every home folder in a record, and for the user's name in a path: they name a person.

    Args:
        record: of a run.
        own: the home folder of whoever runs, wherever it lies; its last part is taken as the user's name.
    """

    def without(value: Any) -> Any:
        if isinstance(value, str):
            return without_home(value, own)
        if isinstance(value, dict):
            return {without_home(k, own): without(v) for k, v in value.items()}
        return [without(v) for v in value] if isinstance(value, list) else value

    return from_json(Record, without(to_json(record)), "record")


def without_home(text: str, own: Path | None = None) -> str:
    """The same of one text, a path or a sentence with paths in it."""
    home = "" if own is None else str(own)
    if len(home) > 1:
        text = re.sub(rf"(?<![\w./\\~-]){re.escape(home)}{END}", "~", text)
    text = HOME_INSIDE.sub("~", HOME.sub("~", text))
    user = "" if own is None else own.name
    if len(user) < 3 or user.lower() in NO_NAMES or not re.match(r"[~/\\]|[A-Za-z]:[\\/]", text):
        return text
    return re.sub(rf"(?<=[\\/]){re.escape(user)}(?=[\\/]|$)", "~", text)


def own_groups(record: Record) -> tuple[NullGroup, ...]:
    """The null scores of a table that does not ship, which a record holds."""
    return () if record.mirror is None else tuple(NullGroup(**vars(g)) for g in record.mirror.groups)


def reason_missing(result: Result, score: str) -> Note:
    """Why a similarity is not among the scores."""
    return result.not_computed.get(score, note("evidence.not_requested"))


def config_of(record: Record) -> RunConfig:
    """The configuration of a recorded run.

    Raises:
        UserError: if a value is out of range.
    """
    return RunConfig(**{**vars(record.config), "recovery": RecoveryConfig(**vars(record.config.recovery))})


def lineup_of(record: Record) -> Lineup | None:
    """The line-up of a recorded run, if it has one.

    Raises:
        UserError: if it is none, in a record that was altered.
    """
    return None if record.lineup is None else parse_lineup(to_json(record.lineup))


def _picture_record(r: PictureResult, result: Result) -> PictureRecord:
    missing = {name: reason_missing(result, name) for name in SOURCES if name not in r.scores}
    return PictureRecord(
        name=file_name(r.picture.name),
        sha256=r.picture.sha256,
        notes=r.picture.notes,
        scores={**r.scores, **dict.fromkeys(missing)},
        not_computed=missing,
        score_errors=r.score_errors,
        p_value=r.verdict.p_value,
        outcome=r.verdict.outcome,
        reason=r.verdict.reason,
        flags=tuple(FlagRecord(name=f.name, note=f.note, blocks_verdict=f.blocks_verdict) for f in r.flags),
        view=r.view,
        distance_from_base=r.distance_from_base,
        contrast=r.contrast,
        witnesses=_witness_records(r.verdict.witnesses),
        frame=r.picture.frame,
        checks=None if r.checks is None else PictureChecksRecord(**vars(r.checks)),
        likelihood=None if r.likelihood is None else LikelihoodRecord(**vars(r.likelihood)),
    )


def _run_checks_record(checks: RunChecks | None) -> RunChecksRecord | None:
    if checks is None:
        return None
    noted = None if checks.noted_framing is None else framing_to_table(checks.noted_framing)
    return RunChecksRecord(**{**vars(checks), "noted_framing": noted})


def _witness_records(witnesses: Sequence[Witness]) -> tuple[WitnessRecord, ...]:
    return tuple(WitnessRecord(**vars(w)) for w in witnesses)


def _mirror_record(result: Result) -> MirrorRecord | None:
    mirror = result.mirror
    if not isinstance(mirror, MirrorReference):
        return None
    others = mirror if mirror.shape is None else mirror.shape
    scores = others.scores if others.source == "pictures" else ()
    return MirrorRecord(
        source=mirror.source,
        references=len(mirror.scores),
        sha256=mirror.digest,
        scores=scores,
        groups=tuple(NullGroupRecord(**g.model_dump()) for g in others.groups),
    )


def _set_record(result: Result) -> SetRecord | None:
    together = result.together
    if together is None:
        return None
    return SetRecord(
        outcome=together.outcome,
        p_value=together.p_value,
        reason=together.reason,
        pictures=together.pictures,
        controls=together.controls,
        used=None if together.used is None else UsedRecord(**vars(together.used)),
        adjusted=together.adjusted,
        adjusted_bh=together.adjusted_bh,
        notes=together.notes,
        witnesses=_witness_records(together.witnesses),
    )


def _config_record(config: RunConfig) -> ConfigRecord:
    fields = {**vars(config), "views": tuple(config.views), "recovery": RecoveryRecord(**vars(config.recovery))}
    return ConfigRecord(**fields)


def commits_of(roles: Mapping[str, Checkpoint]) -> dict[str, str]:
    """Return the commit of each model that was read from the Hub, by its role."""
    abouts = {role: c.listing.about for role, c in roles.items()}
    return {role: a.sha for role, a in abouts.items() if a is not None and a.publication is None}


def anchors_of(roles: Mapping[str, Checkpoint]) -> dict[str, AnchorRecord]:
    """Return where each model was read from, by its role; a file that was handed over has no anchor."""
    return {role: anchor for role, c in roles.items() if (anchor := anchor_of(c)) is not None}


def anchor_of(checkpoint: Checkpoint) -> AnchorRecord | None:
    """Return where a model was read from, and what was stated of its files there; None of a file that lies here."""
    listing, about = checkpoint.listing, checkpoint.listing.about
    if about is None:
        return None
    publication = about.publication
    stated = {f: d for f in checkpoint.weights if not about.cached and (d := listing.stated_sha256(f)) is not None}
    return AnchorRecord(
        location=about.repo if publication is None else CIVITAI,
        version=about.sha if publication is None else publication.air,
        published=about.published if publication is None else publication.published,
        retrieved=about.retrieved,
        stated=stated,
    )


def recorded_digests(record: Record, role: str) -> dict[str, str]:
    """The SHA-256 of the model's weight files as the run read them, by the names that they have at its place."""
    models, anchor = record.models, record.models.anchors.get(role)
    if anchor is None:
        return {}
    version = anchor.version
    short = version[version.rfind("civitai:") :] if anchor.location == CIVITAI else f"{anchor.location}@{version[:12]}"
    own = {f: d for f, d in models.sha256.items() if (f in models.base_files) == (role == "base")}
    return {name: own[f"{short}/{name}"] for name in anchor.stated if f"{short}/{name}" in own}


def publications_of(roles: Mapping[str, Checkpoint]) -> dict[str, Publication]:
    """Return what Civitai states of each model that was read from there, by its role."""
    abouts = {role: c.listing.about for role, c in roles.items()}
    return {role: a.publication for role, a in abouts.items() if a is not None and a.publication is not None}
