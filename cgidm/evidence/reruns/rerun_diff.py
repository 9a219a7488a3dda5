"""Compare the numbers and pictures of a bundle with those of a repeated run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import isnan

from jaxtyping import Float
from torch import Tensor

from ...device import QUANTISATIONS
from ...framing.frame import Framing
from ...framing.table import framing_of_table, framing_to_table
from ...judging.lineup import LETTERS, Lineup
from ...judging.result import INNER_MIRROR_SCORE, MIRROR_CONTRAST, MIRROR_SCORE, Result
from ...messages.text import single_line
from ...pictures.embedders import SOURCES
from ...pictures.images import from_uint8, to_uint8
from ...run.provenance import RENDERING
from ..bundle_files import read_png
from ..bundle_reader import Bundle
from ..lineup_sheet import ROLES, panel_name
from ..record import OLD_RULES, WITHOUT_CHECKS, WITHOUT_STATEMENTS, ModelsRecord, PictureRecord, Record
from ..record_json import to_json
from ..record_of_result import image_name, image_roles, lineup_of, make_record
from ..reports.report import file_name

MIRROR_SCORES = (MIRROR_SCORE, INNER_MIRROR_SCORE)
RUN_NOTES = ("pictures.empty_bucket", "pictures.counts_as_one_with")  # the others are about the file, or left controls
# Tolerances. Largest differences that were measured on the shipped suspects and a CPU (`python -m eval reruns`): with
# the same threads 0; with other threads, or AVX2 or SSE4 instead of AVX512, 5e-7 (the 1000 steps of `paper` with other
# threads: 3e-7); of an embedder, which sees pictures rounded to 8 bits, 1.3e-4.
SAME_MACHINE = 1e-6  # the recorded processor, threads, versions and code
OTHER_MACHINE = 1e-3
# In bfloat16, on a processor without instructions for it: 7e-4, of pictures 1.5e-3, of an embedder 7e-3.
# float16 and GPUs were not measured.
# The mirror test ranks: where rounding swaps two neighbours it moves by 0.004, a hundredth of what pictures differ by
MIRROR_OTHER_MACHINE = 0.05
HALF_OTHER_MACHINE, HALF_EMBEDDER_OTHER_MACHINE = 5e-3, 3e-2


@dataclass(frozen=True)
class Row:
    """One number, as it was recorded and as it is now."""

    of: str
    score: str
    recorded: float | None  # None: it is not recorded
    now: float | None  # None: it could not be computed here
    tolerance: float

    @property
    def difference(self) -> float | None:
        """The absolute difference, 0 of two NaN; None where only one is a number."""
        if self.now is None or self.recorded is None or isnan(self.now) != isnan(self.recorded):
            return None
        return 0.0 if isnan(self.now) else abs(self.now - self.recorded)

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference is not None and self.difference <= self.tolerance

    def line(self) -> str:
        """Return the row of the table."""
        numbers = ["-" if v is None else f"{v:.7f}" for v in (self.recorded, self.now)]
        difference = "-" if self.difference is None else f"{self.difference:.1e}"
        word = "ok" if self.ok else "DIFFERS"
        return f"{self.of[-32:]:32s}  {self.score:20s}{numbers[0]:>13s}{numbers[1]:>13s}{difference:>10s}  {word}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A repeated run beside the recorded one."""

    rows: tuple[Row, ...]
    outcomes: tuple[tuple[str, str, str], ...]  # picture, recorded, now
    differing: tuple[str, ...]  # of machine, versions and code
    tolerance: float
    embedder_tolerance: float
    answers_compared: bool = True  # not of formats that were judged by other rules

    @property
    def agrees(self) -> bool:
        """Whether all scores are within the tolerance, and all outcomes equal."""
        return all(row.ok for row in self.rows) and all(a == b for _, a, b in self.outcomes)

    def lines(self) -> Iterator[str]:
        """Yield the table, and the conclusion."""
        yield f"{'picture':32s}  {'score':20s}{'recorded':>13s}{'now':>13s}{'differ.':>10s}"
        yield from (row.line() for row in self.rows)
        for name, recorded, now in self.outcomes:
            word = "ok" if recorded == now else f"DIFFERS: now {now}"
            yield f"{name[-32:]:32s}  answer: {recorded}  {word}"
        yield from self.differing
        where = "another machine, versions or code" if self.differing else "the recorded machine, versions and code"
        other = "" if self.embedder_tolerance == self.tolerance else f" ({self.embedder_tolerance:g} of an embedder)"
        yield f"tolerance {self.tolerance:g}{other}: {where}"
        largest = max((d for row in self.rows if (d := row.difference) is not None), default=0.0)
        if not self.answers_compared:
            yield "its answers and p-values were judged by other rules, and are not compared"
        what = "the same" if self.answers_compared else "the same scores"
        yield f"{what if self.agrees else 'NOT the same'}: largest difference {largest:.1e}"


def compare(bundle: Bundle, record: Record, result: Result, framings: Sequence[Framing] = ()) -> Comparison:
    """Compare every number of a record with that of a repeated run.

    Args:
        bundle: the evidence.
        record: that of the bundle.
        result: of the repeated run.
        framings: those that a run of these models may have; any, if none is given.
    """
    now = make_record(result, ModelsRecord(base="", suspect="", prompt=""))
    differing = tuple(_differences(record, now))
    same = not differing and now.machine.device == "cpu"
    half = now.machine.precision in ("bfloat16", "float16", *QUANTISATIONS)
    tolerance = SAME_MACHINE if same else HALF_OTHER_MACHINE if half else OTHER_MACHINE
    of_mirror = tolerance if same else MIRROR_OTHER_MACHINE
    of_embedders = HALF_EMBEDDER_OTHER_MACHINE if half and not same else tolerance  # they see 8 bits
    rows, outcomes = [], []
    same_rule = record.format not in OLD_RULES  # their scores are compared alone
    for number, (old, new, run) in enumerate(zip(record.pictures, now.pictures, result.pictures, strict=True)):
        name = file_name(old.name)
        for score in dict.fromkeys((*old.scores, *new.scores)):
            values = old.scores.get(score), new.scores.get(score)
            within = of_embedders if score in SOURCES else of_mirror if score in MIRROR_SCORES else tolerance
            if values[0] is not None or (same_rule and score != MIRROR_CONTRAST and values[1] is not None):
                rows.append(Row(name, single_line(score), *values, within))
        for score in dict.fromkeys((*old.score_errors, *new.score_errors)) if same_rule else old.score_errors:
            errors = old.score_errors.get(score), new.score_errors.get(score)
            rows.append(Row(name, f"{single_line(score)}, error", *errors, of_mirror))
        rows += _measures(name, old, new, tolerance)
        for role in [role for role in image_roles(now) if role != "original"]:
            away = _away(bundle, image_name(number, role), run.images[role])
            rows.append(Row(name, f"{role} picture", 0.0, away, tolerance))
        if same_rule:
            outcomes.append((name, old.outcome, new.outcome))
            outcomes += [(f"{name}, view", single_line(old.view), new.view)] if old.view != new.view else []
        if (said := _run_notes(old)) != (found := _run_notes(new)):
            outcomes.append((f"{name}, notes", said, found))
    numbers = range(1, len(now.control_scores) + 1)
    kind = "control" if record.bank is None else "null score"
    names = [file_name(c.name) for c in record.controls] or [f"{kind} {i}" for i in numbers]
    if record.judged_by == now.judged_by:
        pairs = zip(names, record.control_scores, now.control_scores, strict=True)
        rows += [Row(name, single_line(record.judged_by), old, new, tolerance) for name, old, new in pairs]
    elif same_rule:
        outcomes.append(("the score that decides", single_line(record.judged_by), now.judged_by))
    if record.mirror is not None:
        outcomes.append(("what the mirror test compares with", _compared(record), _compared(now)))
        pairs = zip_longest(record.mirror.scores, now.mirror.scores if now.mirror is not None else ())
        rows += [Row(f"reference {i}", MIRROR_SCORE, old, new, of_mirror) for i, (old, new) in enumerate(pairs, 1)]
    if framings and record.framing is not None and framing_of_table(record.framing.rule) not in framings:
        outcomes.append(("framing", single_line(str(record.framing.rule)), str(framing_to_table(framings[0]))))
    lineup, panels = _lineup(bundle, record, result, tolerance)
    rows, outcomes = [*rows, *panels], [*outcomes, *lineup]
    rows += _measures_of_run(record, now, tolerance, of_mirror)
    flips = [str(r.models.mirrored_training) for r in (record, now)]
    if record.format not in WITHOUT_CHECKS and flips[0] != flips[1]:
        outcomes.append(("the suspect's notes of mirrored pictures", *flips))
    if record.format not in WITHOUT_STATEMENTS and (files := _base_digests(record)) != (found := _base_digests(now)):
        outcomes.append(("the files of the base", files, found))
    if record.set is not None and now.set is not None and same_rule:
        outcomes.append(("all together", record.set.outcome, now.set.outcome))
    return Comparison(
        rows=tuple(rows),
        outcomes=tuple(outcomes),
        differing=differing,
        tolerance=tolerance,
        embedder_tolerance=of_embedders,
        answers_compared=same_rule,
    )


def _base_digests(record: Record) -> str:
    """The SHA-256 of each file of the base, on one line."""
    return " ".join(record.models.sha256.get(file, "none") for file in record.models.base_files)


def _measures(name: str, old: PictureRecord, new: PictureRecord, tolerance: float) -> Iterator[Row]:
    """What was measured of a picture beside its scores."""
    if old.distance_from_base is not None or (old.checks is not None and new.distance_from_base is not None):
        yield Row(name, "distance_from_base", old.distance_from_base, new.distance_from_base, tolerance)
    if old.contrast and len(old.contrast) == len(new.contrast):
        step = max(range(len(old.contrast)), key=lambda i: abs(old.contrast[i] - new.contrast[i]))
        yield Row(name, f"contrast, step {step + 1}", old.contrast[step], new.contrast[step], tolerance)
    elif old.contrast:
        yield Row(name, "contrast", old.contrast[-1], None, tolerance)
    if old.checks is not None and new.checks is not None:
        for check, value in vars(old.checks).items():
            found = getattr(new.checks, check)
            if (value, found) != (None, None):
                yield Row(name, check, value, found, tolerance)


def _measures_of_run(record: Record, now: Record, tolerance: float, of_ranks: float) -> Iterator[Row]:
    """What was measured once for all pictures."""
    if record.format not in WITHOUT_CHECKS or record.weight_distance is not None:  # an older record does not state it
        if (record.weight_distance, now.weight_distance) != (None, None):
            yield Row("the suspect", "weight_distance", record.weight_distance, now.weight_distance, tolerance)
    if record.checks is None or now.checks is None:
        return
    yield Row("the base", "base_vs_itself", record.checks.base_vs_itself, now.checks.base_vs_itself, tolerance)
    yield Row("the suspect", "unused_tensors", record.checks.unused_tensors, now.checks.unused_tensors, 0)
    p_values = record.checks.blind_p_value, now.checks.blind_p_value
    if p_values != (None, None):
        yield Row("the controls", "blind_p_value", *p_values, of_ranks)
    scores = zip_longest(record.checks.unrelated_control_scores, now.checks.unrelated_control_scores)
    yield from (Row(f"control {i}", "unrelated", *pair, tolerance) for i, pair in enumerate(scores, 1))


def _run_notes(picture: PictureRecord) -> str:
    """The notes that a run adds to those of the file, on one line."""
    return "; ".join(single_line(str(n)) for n in picture.notes if n.code in RUN_NOTES) or "none"


def _lineup(
    bundle: Bundle, record: Record, result: Result, tolerance: float
) -> tuple[list[tuple[str, str, str]], list[Row]]:
    """Compare the keys of the recorded line-up and the repeated one, and the images of each panel."""
    recorded = lineup_of(record)
    if recorded is None and result.lineup is None:
        return [], []
    rows, same = [], recorded and result.lineup and recorded.rounds == result.lineup.rounds
    for number, panels in enumerate(result.panels_by_round if same else [], 1):
        for letter, panel in zip(LETTERS, panels, strict=False):
            files = [panel_name(number, letter, role) for role in ROLES]
            away = max(_away(bundle, file, image) for file, image in zip(files, panel.images, strict=True))
            rows.append(Row(f"line-up, round {number}, {letter}", "its pictures", 0.0, away, tolerance))
    return [("key of the line-up", _key(recorded), _key(result.lineup))], rows


def _key(lineup: Lineup | None) -> str:
    """Write the key on one line."""
    if lineup is None:
        return "none"
    rounds = (f"{r.letter} = picture {r.picture + 1}, decoys {' '.join(map(str, r.decoys))}" for r in lineup.rounds)
    return "; ".join([*rounds, *(f"without {left.picture + 1}" for left in lineup.left_out)])


def _compared(record: Record) -> str:
    """What the mirror test of a record compared with, on one line."""
    mirror = record.mirror
    return "nothing" if mirror is None else f"{mirror.source}, {mirror.references} scores, SHA-256 {mirror.sha256}"


def _differences(record: Record, now: Record) -> Iterator[str]:
    """Yield what of machine, versions and code is not as it was recorded; no score depends on who made the report."""
    for part in ("machine", "versions", "code"):
        recorded, found = to_json(getattr(record, part)), to_json(getattr(now, part))
        for key in (k for k in dict.fromkeys((*found, *recorded)) if k not in RENDERING):
            if recorded.get(key) != found.get(key):
                yield single_line(f"{part} {key}: {found.get(key)} instead of {recorded.get(key)}")


def _away(bundle: Bundle, name: str, image: Float[Tensor, "3 H W"]) -> float:
    """Compute the mean absolute difference between a picture of the bundle and the one made now, in [0, 1]."""
    old = read_png(bundle, name, (image.shape[-1], image.shape[-2]))
    return (old - from_uint8(to_uint8(image))).abs().mean().item()
