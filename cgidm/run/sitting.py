"""One sitting of a run: from where its progress stands to its end, or to where it is put down."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import cached_property
from math import isfinite
from pathlib import PurePath
from typing import Any

from ..judging.banks.mirror_nulls import UnusedScores
from ..judging.banks.null_bank import framing_for
from ..judging.banks.residuals import add_residual, residuals_of
from ..judging.checks import add_recovery_flags
from ..judging.flags import Flag, PictureChecks, RunChecks, median_ratio, stopped_flag
from ..judging.judge_pictures import judge_against
from ..judging.lineup import Panel
from ..judging.measurements import Measurements
from ..judging.mirror_choice import comparable_scores, mirror_reference, needed_references
from ..judging.mirror_test import MirrorReference
from ..judging.result import INNER_MIRROR_SCORE, MIRROR_CONTRAST, MIRROR_SCORE, VERDICT_SCORE, MeasuredPicture, Result
from ..judging.scoring import score_controls, score_mirror
from ..judging.tables.likelihood_ratio import find_likelihood
from ..judging.tables.power import ExpectedPower, expect_power
from ..judging.verdict import is_positive
from ..messages import Note, note
from ..method.mirror import MirrorScore
from ..method.models import ModelPair
from ..method.views import AS_GIVEN, CENTRE_SQUARE
from ..pictures.duplicates import copy_notes
from ..pictures.embedders import Embedders
from ..pictures.images import Picture
from .events import Phase, RunEvent, RunProgress
from .plan import RunRequest, is_looked_at_twice, plan_run, with_centre_square
from .provenance import describe_machine
from .recoveries import RecoveredPicture, Recoveries

PREVIEW_COST = 10  # a preview is shown no sooner than this many times its own cost after the last


class Sitting:
    """One sitting of a run."""

    def __init__(
        self,
        pair: ModelPair,
        request: RunRequest,
        progress: RunProgress,
        embedders: Embedders,
        unrelated: Callable[[], ModelPair] | None,
    ) -> None:
        self.begun, self.earlier = time.monotonic(), progress.seconds
        self.pair, self.request = pair, request
        self.uneven = [p for p in request.pictures if self._is_looked_at_twice(p)]
        self.config = with_centre_square(request.config) if self.uneven else request.config
        self.embedders = embedders
        self.plan, self.judged = progress.plan, progress.judged
        self.scores, self.answered = list(progress.control_scores), progress.answered
        self.inner = list(progress.inner_scores)
        self.mirror, self.reference_scores = list(progress.mirror_scores), list(progress.reference_scores)
        self.recoveries = Recoveries(pair, request.pictures, self.config, progress.states)
        self.decoy_states, self.decoys = progress.decoys, None
        options = {"config": self.config, "bank": request.bank, "unrelated": unrelated, "embedders": embedders}
        self.measured = Measurements(pair=pair, pictures=request.pictures, z=self.recoveries.latents, **options)
        given = (self.config.mirror_draws, request.pictures, request.reference, request.null_groups)
        self.needed = needed_references(pair, *given)

    def _is_looked_at_twice(self, picture: Picture) -> bool:
        return is_looked_at_twice(self.pair, self.request, picture)

    def events(
        self, steps: int | None, preview_seconds: float | None, controls_per_event: int | None
    ) -> Generator[RunEvent]:
        """Go on from where the run stands, to its end or for so many `steps`; see `authentication_steps`."""
        if self.plan is None:
            self.plan = plan_run(self.request)
            self.scores = [self.scores[i] for i in self.plan.controls if i < len(self.scores)]
            yield self._event("planned", progress=self._progress())
        had_steps_left = not self._is_complete
        if self.judged is None:
            if had_steps_left and preview_seconds is not None:
                yield self._preview("preview")
            yield from self._test_mirror(controls_per_event)
            yield from self._answer(by_mirror=True)
            if not self.plan.power_known:
                power = self._expect_power(len(self.plan.controls))
                powers = {"expected_power": power.either, "control_power": power.controls}
                self.plan = replace(self.plan, **powers, power_known=True)
            yield from self._score_controls(controls_per_event)
            yield from self._answer(by_mirror=False)
            yield from self._recover_pictures(steps, preview_seconds)
            if not self._is_complete:
                yield self._preview("paused")
                return
            self.judged = self._judge()
            if self.plan.lineup is not None:
                yield self._event("judged", *self._place, progress=self._progress(), result=self.judged)
        if self.plan.lineup is None:
            yield self._event("finished", *self._place, progress=self._progress(), result=self.judged)
        elif had_steps_left and steps is not None:  # the decoys have a sitting of their own
            yield self._event("paused", *self._place, progress=self._progress(), result=self.judged)
        else:
            yield from self._recover_decoys(steps, preview_seconds)

    def _expect_power(self, controls: int) -> ExpectedPower:
        measured = self.measured
        given = (list(self.pair.fingerprints.values()), measured.distances, measured.weight_distance, self.request.bank)
        settings = {"mirror": self._mirror_reference, "controls": controls, "looked_at_twice": bool(self.uneven)}
        return expect_power(*given, **settings, **self._unlike_measured)

    @property
    def _mirror_reference(self) -> MirrorReference | Note | None:
        digests, draws = [p.sha256 for p in self.needed], self.config.mirror_draws
        known = (self.reference_scores, digests, self.request.null_groups, self._unused_scores)
        return mirror_reference(self.pair.fingerprints, self.pair.mirrored_training, draws, *known)

    @cached_property
    def _unused_scores(self) -> UnusedScores | None:
        """The mirror test's null scores of a bank that this suspect can be compared with."""
        bank, draws = self.request.bank, self.config.mirror_draws
        if bank is None or not bank.content.mirror_draws:
            return None
        digests = [p.sha256 for p in self.request.pictures]
        distances = dict(zip(digests, self.measured.distances, strict=True))
        return comparable_scores(bank, draws, distances, self.measured.weight_distance)

    @property
    def _unlike_measured(self) -> dict[str, Any]:
        """What no table was measured with: several prompts, adapters on both sides, tensors that are not in use."""
        pair = self.pair
        return {"prompts": max(1, len(pair.prompts)), "others": len(pair.others), "unused": pair.unused_tensors}

    @property
    def _is_complete(self) -> bool:
        return self.recoveries.steps >= self.config.recovery.steps

    @property
    def _place(self) -> tuple[int, int]:
        return self.recoveries.steps, self.config.recovery.steps

    @property
    def _seconds(self) -> float:
        return self.earlier + time.monotonic() - self.begun

    @property
    def _controls(self) -> list[Picture]:
        """The control pictures that are used."""
        assert self.plan is not None
        return [self.request.controls[i] for i in self.plan.controls]

    def _progress(self) -> RunProgress:
        return RunProgress(
            plan=self.plan,
            mirror_scores=tuple(self.mirror),
            inner_scores=tuple(self.inner),
            reference_scores=tuple(self.reference_scores),
            control_scores=tuple(self.scores),
            answered=self.answered,
            states=self.recoveries.on_cpu(),
            judged=self.judged,
            decoys=self.decoy_states if self.decoys is None else self.decoys.on_cpu(),
            seconds=self._seconds,
        )

    def _event(self, phase: Phase, done: int = 0, of: int = 0, **more: Any) -> RunEvent:
        """An event at this point of the run; `more` are its other fields."""
        return RunEvent(phase=phase, done=done, of=of, plan=self.plan, **more)

    def _preview(self, phase: Phase) -> RunEvent:
        """The event of a run that is not complete, with the result as if it had been stopped here."""
        progress = self._progress()
        contrast = tuple(c[-1].item() for c in self.recoveries.contrast) if self.recoveries.steps else ()
        return self._event(phase, *self._place, contrast=contrast, progress=progress, result=self._stopped_result())

    @cached_property
    def _checks(self) -> tuple[RunChecks, list[PictureChecks]]:
        return self.measured.checks(self._controls)

    @cached_property
    def _flags(self) -> list[tuple[Flag, ...]]:
        return self.measured.flags(self._checks, self._controls)

    @property
    def _mirror_tables(self) -> list[dict[str, float]]:
        contrasts = [{MIRROR_CONTRAST: s.contrast} for s in self.mirror] or [{}] * len(self.request.pictures)
        scores = [{name: s.value for name, s in each.items()} for each in self._mirror_scores]
        return [{**own, **contrast} for own, contrast in zip(scores, contrasts, strict=True)]

    @property
    def _mirror_scores(self) -> list[dict[str, MirrorScore]]:
        """By name, of each picture; nothing before they are known."""
        if not self.mirror:
            return [{} for _ in self.request.pictures]
        found, inner = [{MIRROR_SCORE: score} for score in self.mirror], iter(self.inner)
        for each, picture in zip(found, self.request.pictures, strict=True):
            if self._is_looked_at_twice(picture):
                each[INNER_MIRROR_SCORE] = next(inner)
        return found

    def _answer(self, *, by_mirror: bool) -> Generator[RunEvent]:
        """Tell the verdicts, once. By the mirror test: if it alone gives them, since no control is scored yet."""
        if self.answered or (by_mirror and not self.mirror):
            return
        decoded, measured, tables = self.recoveries.decoded(), self.measured, self._mirror_tables
        if by_mirror:
            views = [AS_GIVEN] * len(self.mirror)
            result = self._result(decoded, tables, measured.flags_of_run, None, views, (), nulls=())
            said = (*(r.verdict for r in result.pictures), result.together or result.pictures[0].verdict)
            if residuals_of(self.request.bank) is not None:
                return  # which decides together with the mirror test
            if (self._controls or self.request.bank is not None) and not all(is_positive(v.outcome) for v in said):
                return
        else:
            scores, views = measured.contrasts
            settings = (self._flags, measured.distances, views, tuple(self._controls))
            tables = [{**t, VERDICT_SCORE: s} for t, s in zip(tables, scores.tolist(), strict=True)]
            result = self._result(decoded, tables, *settings)
        self.answered = True
        yield self._event("answered", progress=self._progress(), result=result)

    def _test_mirror(self, per_event: int | None) -> Generator[RunEvent]:
        """Score the pictures, then the reference pictures, that are not scored yet."""
        if not self.config.mirror_draws:
            return
        of_pictures, of_squares = (self.request.pictures, self.mirror), (self.uneven, self.inner)
        parts = (of_pictures, of_squares, (self.needed, self.reference_scores))
        of = sum(len(pictures) for pictures, _ in parts)
        for pictures, scores in parts:
            view = CENTRE_SQUARE if scores is self.inner else AS_GIVEN
            for first in range(len(scores), len(pictures), per_event or max(1, len(pictures))):
                part = pictures[first : first + (per_event or len(pictures))]
                found = score_mirror(self.pair, part, self.config, view)
                scores += [s.value for s in found] if scores is self.reference_scores else found
                done = sum(len(scored) for _, scored in parts)  # of all parts, so that a bar never goes back
                yield self._event("mirror", done, of, progress=self._progress())

    def _score_controls(self, per_event: int | None) -> Generator[RunEvent]:
        """Score the controls that are not scored yet."""
        assert self.plan is not None
        used, count = self.plan.controls, len(self.plan.controls)
        for first in range(len(self.scores), count, per_event or max(1, count)):
            controls = [self.request.controls[i] for i in used[first : first + (per_event or count)]]
            self.scores += score_controls(self.pair, controls, self.config)
            yield self._event("controls", len(self.scores), count, progress=self._progress())

    def _recover_pictures(self, steps: int | None, preview_seconds: float | None) -> Generator[RunEvent]:
        last, pause = time.monotonic(), preview_seconds
        if pause is not None:
            last -= pause
        for contrast in self.recoveries.advance(self.config, steps):
            now = time.monotonic()
            if pause is not None and preview_seconds is not None and now - last >= pause and not self._is_complete:
                yield self._preview("preview")
                last = time.monotonic()
                pause = max(preview_seconds, PREVIEW_COST * (last - now))
            else:
                yield self._event("step", *self._place, contrast=contrast)

    def _recover_decoys(self, steps: int | None, progress_seconds: float | None) -> Generator[RunEvent]:
        """Recover the line-up's decoys as the pictures were recovered; they are neither scored nor judged."""
        assert self.plan is not None and self.plan.lineup is not None and self.judged is not None
        lineup, of = self.plan.lineup, self.config.recovery.steps
        decoys = [self.request.controls[self.plan.controls[i]] for i in lineup.decoys]
        config = replace(self.config, mirrored_recovery=False)
        self.decoys = Recoveries(self.pair, decoys, config, self.decoy_states)
        last = time.monotonic()
        for _ in self.decoys.advance(config, steps):
            progress = None
            if progress_seconds is not None and time.monotonic() - last >= progress_seconds:
                progress, last = self._progress(), time.monotonic()
            yield self._event("decoys", self.decoys.steps, of, progress=progress)
        if self.decoys.steps < of:
            yield self._event("paused", self.decoys.steps, of, progress=self._progress(), result=self.judged)
            return
        decoded = self.decoys.decoded()
        panels = tuple(Panel(p.image, d.start, d.recovered) for p, d in zip(decoys, decoded, strict=True))
        result = replace(self.judged, lineup=lineup, decoys=panels, seconds=self._seconds)
        yield self._event("finished", self.decoys.steps, of, progress=self._progress(), result=result)

    def _stopped_result(self) -> Result:
        """The result of a run that is not complete: shown, not judged."""
        flags: list[tuple[Flag, ...]] = [(stopped_flag(*self._place),)] * len(self.request.pictures)
        nothing: list[dict[str, float]] = [{} for _ in flags]
        return self._result(self.recoveries.decoded(), nothing, flags, None, [AS_GIVEN] * len(flags), ())

    def _judge(self) -> Result:
        """Score what was recovered, and judge. The recovery can take an answer back, and give none."""
        recoveries, (scores, views) = self.recoveries, self.measured.contrasts
        parts = zip(self._mirror_tables, scores.tolist(), recoveries.scores(self.embedders), strict=True)
        tables = [{**mirror, VERDICT_SCORE: score, **recovered} for mirror, score, recovered in parts]
        run, early = self._checks
        checks = [
            replace(c, gradient_ratio=median_ratio(r)) for c, r in zip(early, recoveries.gradient_ratio, strict=True)
        ]
        flags = add_recovery_flags(self._flags, checks, [c.tolist() for c in recoveries.contrast])
        decoded, measured = recoveries.decoded(), self.measured
        settings = (flags, measured.distances, views, tuple(self._controls))
        return self._result(decoded, tables, *settings, checks=(run, checks))

    def _result(
        self,
        decoded: Sequence[RecoveredPicture],
        tables: Sequence[dict[str, float]],
        flags: Sequence[tuple[Flag, ...]],
        distances: Sequence[float] | None,
        views: Sequence[str],
        controls: tuple[Picture, ...],
        nulls: tuple[float, ...] | None = None,
        checks: tuple[RunChecks, Sequence[PictureChecks]] | None = None,
    ) -> Result:
        """Judge what was measured so far, by `nulls` or all null scores; add what identifies the run."""
        assert self.plan is not None
        contrast, bank = self.recoveries.contrast, self.request.bank
        measured = [
            MeasuredPicture(
                picture=self._noted(i),
                scores=add_residual(tables[i], bank, self.request.pictures[i].sha256),
                score_errors=self._errors(i) if MIRROR_SCORE in tables[i] else {},
                flags=flags[i],
                partial=decoded[i].start,
                recovered=decoded[i].recovered,
                mirrored=decoded[i].mirrored,
                contrast=tuple(contrast[i].tolist()),
                distance_from_base=None if distances is None else distances[i],
                view=views[i],
                checks=None if checks is None else checks[1][i],
            )
            for i in range(len(flags))
        ]
        if nulls is None and bank is None:
            nulls = tuple(self.scores)
        mirror, draws = self._mirror_reference, self.config.mirror_draws
        given = (list(self.pair.fingerprints.values()), draws, distances or (), self.measured.weight_distance)
        likelihood = find_likelihood(*given, **self._unlike_measured)
        settings = (nulls, bank, mirror, self.plan.expected_power, likelihood)
        pictures, together, compared = judge_against(measured, *settings, control_power=self.plan.control_power)
        return Result(
            pictures=pictures,
            framing=framing_for(self.pair, bank),
            framing_is_guessed=self.pair.framing_is_guessed and bank is None,
            control_scores=compared,
            mirror=mirror,
            not_computed=self.embedders.missing,
            config=self.config,
            fingerprints=self.pair.fingerprints,
            base_files=self.pair.base_files,
            notes=self.pair.notes,
            seconds=self._seconds,
            together=together,
            machine=describe_machine(self.pair),
            controls=controls,
            bank=bank,
            expected_power=self.plan.expected_power,
            control_power=self.plan.control_power,
            weight_distance=self.measured.weight_distance,
            checks=None if checks is None else checks[0],
            mirrored_training=self.pair.mirrored_training,
            suspect_scale=self.pair.suspect_scale,
            others=self.pair.others,
            as_loaded=self.pair.as_loaded,
        )

    def _errors(self, index: int) -> dict[str, float]:
        return {name: s.error for name, s in self._mirror_scores[index].items() if isfinite(s.error)}

    def _noted(self, index: int) -> Picture:
        """A picture with notes of the controls that are its near-duplicates, and of an empty bucket."""
        assert self.plan is not None
        names = [PurePath(self.request.controls[i].name).name for i in self.plan.copies[index]]
        picture = self.request.pictures[index]
        return replace(picture, notes=(*picture.notes, *copy_notes(names), *_empty_bucket(self.pair, picture)))


def _empty_bucket(pair: ModelPair, picture: Picture) -> tuple[Note, ...]:
    """The alibi of a suspect whose notes list its buckets, and none that held a picture of this shape."""
    if pair.excludes is None or picture.frame is None:
        return ()
    width, height = picture.frame.original
    return (note("pictures.empty_bucket", width=width, height=height),) if pair.excludes(width, height) else ()
