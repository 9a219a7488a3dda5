"""Derive once more what follows from the scores of a record, and name what is recorded otherwise.

The scores, the configuration, the bank's numbers, the pictures and what the checks measured are taken as they are
recorded: a repeated run tells whether they are right. P-values, residuals, answers, flags, the set's test, bounds,
power, frames and the line-up follow from them, by the functions that the run itself calls. So do both reports, byte for
byte, and the names of all files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import UserError
from ..framing.frame import CentreSquare, Framing
from ..framing.table import framing_of_table
from ..judging.banks.mirror_nulls import unused_scores
from ..judging.banks.null_bank import Bank, check_bank, read_bank
from ..judging.banks.residuals import add_residual
from ..judging.checks import KNOWN_FLAGS, add_recovery_flags, base_flags, find_flags
from ..judging.flags import Flag, PictureChecks, RunChecks
from ..judging.judge_pictures import judge_against
from ..judging.lineup import plan_lineup
from ..judging.mirror_choice import comparable_scores, mirror_reference
from ..judging.mirror_test import MirrorReference
from ..judging.result import (
    INNER_MIRROR_SCORE,
    MIRROR_CONTRAST,
    MIRROR_SCORE,
    RESIDUAL_SCORE,
    VERDICT_SCORE,
    MeasuredPicture,
    Result,
)
from ..judging.tables.likelihood_ratio import find_likelihood
from ..judging.tables.power import ExpectedPower, expect_power
from ..messages import Note, note
from ..messages.text import single_line
from ..method.config import PRESETS, RunConfig
from ..method.mirror import is_symmetric
from ..method.models import OtherAdapter
from ..pictures.decoding import MAX_SIDE, MIN_SIDE
from ..pictures.duplicates import near_duplicates
from ..pictures.embedders import SOURCES
from ..pictures.images import Picture, frame_notes
from ..run.plan import with_centre_square
from ..run.plan_file import read_plan_bytes
from .anchors.stated_values import odd_statements
from .bundle_files import find_foreign_files, read_png
from .bundle_reader import Bundle, FileProblem, read_small
from .bundle_writer import BANK
from .differences import Difference, differences
from .record import (
    FORMAT,
    MEAN_POWER,
    OLD_RULES,
    OLDER,
    WITHOUT_CHECKS,
    WITHOUT_STATEMENTS,
    ControlRecord,
    PictureRecord,
    Record,
    record_bytes,
)
from .record_json import to_json
from .record_of_result import config_of, image_name, lineup_of, make_record, own_groups, without_homes
from .reruns.planned_run import plan_differences
from .seal import PLAN, RECORD

REMOVED = ("removed_cosine", "removed_gain", "removed_alignment")
FRAME_NOTES = ("pictures.centre_square", "pictures.framed")  # what `frame_notes` says
GROUP_NOTE = "pictures.counts_as_one_with"  # what `judge_pictures` adds
RENDERED = ("evidence.problem.not_of_record", "evidence.problem.unrenderable")


@dataclass(frozen=True, kw_only=True)
class Recomputation:
    """What came of deriving a record's values once more."""

    differences: tuple[Difference, ...] = ()
    problems: tuple[FileProblem, ...] = ()  # files that do not follow from the record
    gaps: tuple[Note, ...] = ()  # what could not be derived, and why

    @property
    def agrees(self) -> bool:
        """Whether nothing was found that does not follow from the scores."""
        return not self.differences and not self.problems


def recompute(bundle: Bundle, record: Record) -> Recomputation:
    """Derive everything that follows from a bundle's scores, and compare it with what the bundle says.

    Args:
        bundle: the evidence, whole.
        record: that of the bundle.
    """
    data = read_small(bundle, RECORD) or b""
    foreign, gaps = _foreign_files(bundle, record, data)
    if record.format in OLD_RULES:
        return Recomputation(problems=foreign, gaps=(*gaps, note("evidence.gap.old_rules", format=record.format)))
    if record.bank is not None and record.format in WITHOUT_CHECKS:
        return Recomputation(problems=foreign, gaps=(*gaps, note("evidence.gap.no_bank_numbers")))
    gaps += [note("evidence.gap.older_format", format=record.format)] if record.format in WITHOUT_STATEMENTS else []
    gaps += [note("evidence.gap.stated_power", format=record.format)] if record.format in MEAN_POWER else []
    gaps += [note("evidence.gap.stated_flags", format=record.format)] if record.format in WITHOUT_CHECKS else []
    gaps += [note("evidence.gap.no_controls")] if _lacks_controls(record) else []
    found: list[Difference] = []
    if record.format not in WITHOUT_CHECKS and data != record_bytes(record):
        found.append(Difference(RECORD, "other bytes", "those that a run writes of these values"))
    try:
        found += _derive(bundle, record)
    except Exception as error:
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        found.append(Difference("record", "values that no run can have", single_line(why)))
    return Recomputation(differences=tuple(found), problems=foreign, gaps=tuple(gaps))


def _foreign_files(bundle: Bundle, record: Record, data: bytes) -> tuple[tuple[FileProblem, ...], list[Note]]:
    """The files that do not follow from a record; reports of an older format were made by an older version."""
    found = list(find_foreign_files(bundle, record, data))
    if record.format not in OLDER:
        return tuple(found), []
    rendered = [p for p in found if p.note.code in RENDERED]
    gap = note("evidence.gap.older_reports", format=record.format, files=[p.name for p in rendered])
    return tuple(p for p in found if p not in rendered), [gap] if rendered else []


def _derive(bundle: Bundle, record: Record) -> Iterator[Difference]:
    config, steps = config_of(record), record.config.recovery.steps
    if any(len(p.contrast) != steps for p in record.pictures) or record.stopped is not None:
        yield Difference("pictures[*].contrast", [len(p.contrast) for p in record.pictures], f"{steps} steps each")
        return
    bank = None
    if record.bank is not None:
        bank = read_bank(read_small(bundle, BANK) or b"", record.bank.name)
        full = record.weight_distance is not None
        check_bank(bank, record.models.sha256, full, config, (record.models.prompt, *record.models.other_prompts))
        if record.format in OLDER and bank.content.mirror_draws:
            yield Difference("format", record.format, f"{FORMAT}, since its bank has scores of the mirror test")
    framing = _framing(record, bank)
    told = record.format not in WITHOUT_CHECKS  # an older record may lack what the network was told of a frame
    pictures = [_picture(bundle, p, image_name(i, "original"), framing, told) for i, p in enumerate(record.pictures)]
    controls = [_picture(bundle, c, c.image, framing, told) for c in record.controls]
    copies = near_duplicates([p.image for p in pictures], [c.image for c in controls])
    for i in np.flatnonzero(copies.any(0)).tolist():
        yield Difference(f"controls[{i}]", record.controls[i].name, "a run leaves a copy of a picture out")
    yield from _odd_symmetry(bank, pictures)
    result = _result(record, config, bank, framing, pictures, controls)
    now = replace(make_record(result, record.models, controls), language=record.language)
    now = replace(now, date=record.date, code=record.code, versions=record.versions, seconds=record.seconds)
    now = replace(now, statements=record.statements, plan=record.plan, format=record.format)
    if record.format in WITHOUT_STATEMENTS:
        now = replace(now, models=replace(now.models, known_base=None))
    yield from differences(to_json(record, record.format), to_json(without_homes(now), record.format))
    for i, p in enumerate(record.pictures):
        yield from _score_names(p, config, result.framing_is_guessed, f"pictures[{i}].scores")
        if p.view not in config.views:
            yield Difference(f"pictures[{i}].view", p.view, list(config.views))
    if config.preset not in PRESETS:
        yield Difference("config.preset", config.preset, list(PRESETS))
    needed = {"checks": WITHOUT_CHECKS, "framing": WITHOUT_CHECKS, "statements": WITHOUT_STATEMENTS}
    for name in (name for name, without in needed.items() if record.format not in without):
        if getattr(record, name) is None:
            yield Difference(name, None, "what every run writes")
    yield from odd_statements(record)
    if record.plan is not None:
        plan = read_plan_bytes(read_small(bundle, PLAN) or b"", PLAN)
        yield from (Difference(*found) for found in plan_differences(record, plan))
    framed = {f"pictures[{i}].frame": p.frame for i, p in enumerate(record.pictures)}
    framed |= {f"controls[{i}].frame": c.frame for i, c in enumerate(record.controls)}
    if any(frame is not None for frame in framed.values()):  # none has one where pictures came without their files
        yield from (Difference(where, None, "a frame") for where, frame in framed.items() if frame is None)


def _odd_symmetry(bank: Bank | None, pictures: Sequence[Picture]) -> Iterator[Difference]:
    """Name the pictures that a bank takes for their own mirror images, or not, and that are otherwise."""
    unused = None if bank is None else unused_scores(bank.content, bank.content.mirror_draws)
    if unused is None:
        return
    for picture in pictures:
        stated = picture.sha256 in unused.symmetric
        if picture.sha256 in unused.pictures and stated != is_symmetric(picture.image):
            yield Difference(f"{BANK}: {picture.name}", "its own mirror image" if stated else "none", "the other")


def _result(
    record: Record,
    config: RunConfig,
    bank: Bank | None,
    framing: Framing | None,
    pictures: Sequence[Picture],
    controls: Sequence[Picture],
) -> Result:
    """The result as the run came to it, from what it measured."""
    guessed = _guessed(record)
    twice = bool(guessed) and any(p.square is not None for p in pictures)
    config = with_centre_square(config) if twice else config
    config = replace(config, score_noise="own") if bank is not None else config
    distances = [p.distance_from_base for p in record.pictures if p.distance_from_base is not None]
    flags, run, checks = _flags(record, config, bank, pictures, controls, distances)
    measured = [
        MeasuredPicture(
            picture=picture,
            scores=add_residual(_measured_scores(p), bank, p.sha256),
            score_errors=p.score_errors,
            flags=raised,
            partial=picture.image,  # neither judged nor written here
            recovered=picture.image,
            contrast=p.contrast,
            distance_from_base=p.distance_from_base,
            view=p.view,
            checks=checked,
        )
        for p, picture, raised, checked in zip(record.pictures, pictures, flags, checks, strict=True)
    ]
    weights = list(record.models.sha256.values())
    unused = 0 if record.checks is None else record.checks.unused_tensors
    models = record.models
    setting: dict[str, Any] = {"prompts": 1 + len(models.other_prompts), "others": len(models.others), "unused": unused}
    by_digest = {p.sha256: p.distance_from_base for p in record.pictures if p.distance_from_base is not None}
    mirror = _mirror(record, config, bank, by_digest)
    nulls = record.control_scores if bank is None else None
    power = ExpectedPower(controls=record.expected_power)  # as an older record states it
    if record.format not in MEAN_POWER:
        used = {"mirror": mirror, "controls": len(nulls or ()), "looked_at_twice": twice}
        power = expect_power(weights, distances, record.weight_distance, bank, **used, **setting)
    likelihood = find_likelihood(weights, config.mirror_draws, distances, record.weight_distance, **setting)
    judged, together, compared = judge_against(
        measured,
        nulls,
        bank,
        mirror,
        power.either,
        likelihood,
        control_power=power.controls,
        combined=record.format not in WITHOUT_STATEMENTS,
    )
    lineup = None
    if config.lineup is not None:
        stated = _lacks_controls(record)
        lineup = lineup_of(record) if stated else plan_lineup(pictures, controls, config.lineup, config.seed)
    return Result(
        pictures=judged,
        control_scores=compared,
        mirror=mirror,
        not_computed=record.pictures[0].not_computed,
        config=config,
        fingerprints=record.models.sha256,
        base_files=record.models.base_files,
        seconds=record.seconds,
        together=together,
        machine=vars(record.machine),
        controls=tuple(controls),
        bank=bank,
        expected_power=power.either,
        control_power=power.controls if record.format not in MEAN_POWER else None,
        weight_distance=record.weight_distance,
        framing=framing,
        framing_is_guessed=guessed,
        lineup=lineup,
        checks=run,
        mirrored_training=record.models.mirrored_training,
        notes=record.models.notes,
        suspect_scale=record.models.suspect_scale,
        others=tuple(OtherAdapter(**vars(o)) for o in record.models.others),
        as_loaded=record.models.as_loaded,
    )


def _flags(
    record: Record,
    config: RunConfig,
    bank: Bank | None,
    pictures: Sequence[Picture],
    controls: Sequence[Picture],
    distances: Sequence[float],
) -> tuple[list[tuple[Flag, ...]], RunChecks | None, list[PictureChecks | None]]:
    """The flags, from what the checks measured; in older formats as they are stated."""
    if record.format in WITHOUT_CHECKS or record.checks is None:
        stated = [tuple(KNOWN_FLAGS[f.name] for f in p.flags) for p in record.pictures]
        return stated, None, [None for _ in pictures]
    noted = record.checks.noted_framing
    run = RunChecks(**{**vars(record.checks), "noted_framing": None if noted is None else framing_of_table(noted)})
    checks = [PictureChecks(**vars(p.checks)) for p in record.pictures if p.checks is not None]
    of_base = () if record.format in WITHOUT_STATEMENTS else base_flags(record.models.sha256, record.models.base_files)
    settings = {"controls": controls, "views": config.views, "bank": bank, "distances": distances, "of_base": of_base}
    found = find_flags(pictures, run, checks, **settings, weight_distance=record.weight_distance)
    return add_recovery_flags(found, checks, [p.contrast for p in record.pictures]), run, [*checks]


def _lacks_controls(record: Record) -> bool:
    """Whether the run had control pictures that the bundle does not hold."""
    return record.bank is None and bool(record.control_scores) and not record.controls


def _framing(record: Record, bank: Bank | None) -> Framing | None:
    """How a run of this record frames pictures."""
    if record.framing is None:
        return None
    stated = framing_of_table(record.framing.rule)
    if bank is not None:
        return bank.content.framing(stated.resolution if isinstance(stated, CentreSquare) else 0)
    noted = None if record.checks is None else record.checks.noted_framing
    return stated if noted is None else framing_of_table(noted)


def _guessed(record: Record) -> bool:
    """Whether nobody noted how the training framed its pictures."""
    if record.framing is None or record.bank is not None:
        return False
    return record.framing.guessed if record.checks is None else record.checks.noted_framing is None


def _picture(
    bundle: Bundle, recorded: PictureRecord | ControlRecord, file: str, framing: Framing | None, told: bool
) -> Picture:
    """The picture as the run looked at it, with the frame and the notes that follow from its size."""
    frame, size, notes = recorded.frame, None, [n for n in recorded.notes if n.code != GROUP_NOTE]
    if frame is not None:
        original = frame
        width, height = frame.original
        if framing is not None and MIN_SIDE <= min(width, height) and max(width, height) <= MAX_SIDE:
            frame = framing.frame(width, height)
            frame = frame if told or original.told is not None else replace(frame, told=None)
        size, due, kept = frame.size, frame_notes(frame), []
        for each in notes:  # in its place
            kept += [*due] if each.code in FRAME_NOTES else [each]
            due = () if each.code in FRAME_NOTES else due
        notes = [*kept, *due]
    image = read_png(bundle, file, size)
    square = None if image.shape[-1] == image.shape[-2] else image[:, :1, :1]  # whether there is one counts, not how
    return Picture(recorded.name, recorded.sha256, image, tuple(notes), frame, square)


def _measured_scores(picture: PictureRecord) -> dict[str, float]:
    return {name: s for name, s in picture.scores.items() if s is not None and name != RESIDUAL_SCORE}


def _score_names(picture: PictureRecord, config: RunConfig, guessed: bool, where: str) -> Iterator[Difference]:
    """Name the scores that a run computes and that are missing, and those that no run computes."""
    frame = picture.frame
    twice = guessed and frame is not None and frame.size[0] != frame.size[1] and config.mirror_draws
    needed = {VERDICT_SCORE, *REMOVED} | ({MIRROR_SCORE} if config.mirror_draws else set())
    needed |= ({INNER_MIRROR_SCORE} if twice else set()) | (
        {"alignment_difference"} if config.mirrored_recovery else set()
    )
    known = picture.scores.keys() - {RESIDUAL_SCORE, *SOURCES}
    if config.mirror_draws:
        known -= {MIRROR_CONTRAST}  # records before format 5 have none
    for name in sorted(known ^ needed):
        yield Difference(f"{where}.{name}", picture.scores.get(name), "a score" if name in needed else "no such score")
    for name in sorted(picture.score_errors.keys() - {MIRROR_SCORE, INNER_MIRROR_SCORE}):
        yield Difference(f"{where.replace('scores', 'score_errors')}.{name}", picture.score_errors[name], "no error")


def _mirror(
    record: Record, config: RunConfig, bank: Bank | None, distances: Mapping[str, float]
) -> MirrorReference | Note | None:
    """What the mirror test compares with: the bank, the table that ships for the base, or recorded reference scores."""
    stated = record.mirror
    scores = stated.scores if stated is not None and stated.source in ("bank", "pictures") else ()
    mirrored = record.models.mirrored_training
    if record.format in WITHOUT_CHECKS:  # which did not record it
        silent = [w.silent.code for p in record.pictures for w in p.witnesses if w.silent is not None]
        mirrored = "judging.mirror.flips" in silent
    own, unused, draws = own_groups(record), None, config.mirror_draws
    if record.format not in OLDER:  # whose banks had no say here
        unused = comparable_scores(bank, draws, distances, record.weight_distance)
    found = mirror_reference(record.models.sha256, mirrored, draws, scores, own=own, unused=unused)
    if isinstance(found, MirrorReference) and found.source == "pictures" and stated is not None:
        return replace(found, digest=stated.sha256)  # over the files of pictures that are not here
    return found
