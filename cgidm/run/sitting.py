"""One sitting of a run: from where its progress stands to its end, or to where it is put down."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import isfinite
from pathlib import PurePath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..judging.distance import weight_distance
from ..judging.flags import Flag, check_run, stopped_flag
from ..judging.judge_pictures import judge_pictures
from ..judging.lineup import Panel
from ..judging.measurements import Measurements
from ..judging.mirror_test import mirror_reference, needed_references
from ..judging.power import expect_power
from ..judging.residuals import add_residual, residuals_of
from ..judging.result import MIRROR_SCORE, VERDICT_SCORE, MeasuredPicture, Result
from ..judging.scoring import picture_generators, score_controls, score_mirror, score_recovery
from ..judging.verdict import is_positive
from ..method.config import RunConfig
from ..method.models import ModelPair
from ..method.partial import Partial, make_partial
from ..method.run_state import DecodedRecovery, RunState, continue_recovery, decode_recovery, new_state
from ..method.views import AS_GIVEN
from ..pictures.duplicates import copy_notes
from ..pictures.embedders import Embedders
from ..pictures.images import Picture
from ..provenance import describe_machine
from .events import STATE, Phase, RunEvent, RunProgress
from .plan import RunRequest, plan_run

PREVIEW_COST = 10  # a preview is shown no sooner than this many times its own cost after the last


def start_recovery(pair: ModelPair, pictures: Sequence[Picture], config: RunConfig) -> RunState:
    """The state of a recovery before its first step; `continue_recovery` takes the steps.

    With `config.mirrored_recovery` the mirror images follow the pictures. Of both the same cells are removed.
    """
    images = torch.stack([p.image for p in pictures]).to(pair.device)
    z, partial = _remove_half(pair, images, config)
    if config.mirrored_recovery:
        z_mirrored, other = _remove_half(pair, images.flip(-1), config, mirrored=True)
        masks = [p.mask.expand(len(z), -1, -1, -1) for p in (partial, other)]
        z, partial = torch.cat([z, z_mirrored]), Partial(torch.cat(masks), torch.cat([partial.start, other.start]))
    return new_state(z, partial, picture_generators(pictures, config, "recovery"))


def _remove_half(
    pair: ModelPair, images: Float[Tensor, "b 3 H W"], config: RunConfig, *, mirrored: bool = False
) -> tuple[Float[Tensor, "b c h w"], Partial]:
    z = pair.codec.encode(images)
    return z, make_partial(config.partial, pair.codec, images, z, config.start, mirrored=mirrored)


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
        self.pair, self.request, self.config = pair, request, request.config
        self.embedders = embedders
        self.plan, self.judged, self.decoys = progress.plan, progress.judged, progress.decoys
        self.scores, self.answered = list(progress.control_scores), progress.answered
        self.needed = needed_references(pair, self.config.mirror_draws, request.pictures, request.reference)
        self.mirror, self.reference_scores = list(progress.mirror_scores), list(progress.reference_scores)
        self.state = progress.state or start_recovery(pair, request.pictures, self.config)
        if (self.state.mirrored is not None) != self.config.mirrored_recovery:
            raise UserError("run.damaged_progress", file=STATE, problem="it is not about the same pictures")
        options = {"config": self.config, "bank": request.bank, "unrelated": unrelated, "embedders": embedders}
        self.measured = Measurements(pair=pair, pictures=request.pictures, z=self.state.pictures.z, **options)

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
                power = expect_power(self.pair, self.measured.distances, self.request.bank)
                self.plan = replace(self.plan, expected_power=power, power_known=True)
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

    @property
    def _is_complete(self) -> bool:
        return self.state.steps >= self.config.recovery.steps

    @property
    def _place(self) -> tuple[int, int]:
        return self.state.steps, self.config.recovery.steps

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
            reference_scores=tuple(self.reference_scores),
            control_scores=tuple(self.scores),
            answered=self.answered,
            state=self.state.on_cpu(),
            judged=self.judged,
            decoys=None if self.decoys is None else self.decoys.on_cpu(),
            seconds=self._seconds,
        )

    def _event(self, phase: Phase, done: int = 0, of: int = 0, **more: Any) -> RunEvent:
        """An event at this point of the run; `more` are its other fields."""
        return RunEvent(phase=phase, done=done, of=of, plan=self.plan, **more)

    def _preview(self, phase: Phase) -> RunEvent:
        """The event of a run that is not complete, with the result as if it had been stopped here."""
        progress = self._progress()
        assert progress.state is not None
        contrast = tuple(progress.state.pictures.contrast[-1].tolist()) if progress.state.steps else ()
        return self._event(phase, *self._place, contrast=contrast, progress=progress, result=self._stopped_result())

    @cached_property
    def _flags(self) -> list[tuple[Flag, ...]]:
        return self.measured.flags(self._controls)

    @property
    def _mirror_table(self) -> dict[str, Float[Tensor, " b"]]:
        return {MIRROR_SCORE: torch.tensor([s.value for s in self.mirror])} if self.mirror else {}

    def _answer(self, *, by_mirror: bool) -> Generator[RunEvent]:
        """Tell the verdicts, once. By the mirror test: if it alone gives them, since no control is scored yet."""
        if self.answered or (by_mirror and not self.mirror):
            return
        decoded, measured, table = decode_recovery(self.pair, self.state), self.measured, self._mirror_table
        if by_mirror:
            views = [AS_GIVEN] * len(self.mirror)
            result = self._result(decoded, table, measured.flags_of_run, None, views, (), nulls=())
            said = (*(r.verdict for r in result.pictures), result.together or result.pictures[0].verdict)
            if (self._controls or self.request.bank is not None) and not all(is_positive(v.outcome) for v in said):
                return
        else:
            scores, views = measured.contrasts
            settings = (self._flags, measured.distances, views, tuple(self._controls))
            result = self._result(decoded, {**table, VERDICT_SCORE: scores}, *settings)
        self.answered = True
        yield self._event("answered", progress=self._progress(), result=result)

    def _test_mirror(self, per_event: int | None) -> Generator[RunEvent]:
        """Score the pictures, then the reference pictures, that are not scored yet."""
        if not self.config.mirror_draws:
            return
        for pictures, scores in ((self.request.pictures, self.mirror), (self.needed, self.reference_scores)):
            for first in range(len(scores), len(pictures), per_event or max(1, len(pictures))):
                part = pictures[first : first + (per_event or len(pictures))]
                found = score_mirror(self.pair, part, self.config)
                scores += found if scores is self.mirror else [s.value for s in found]
                yield self._event("mirror", len(scores), len(pictures), progress=self._progress())

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
        for step in continue_recovery(self.pair, self.state, self.config.recovery, steps):
            now = time.monotonic()
            if pause is not None and preview_seconds is not None and now - last >= pause and not self._is_complete:
                yield self._preview("preview")
                last = time.monotonic()
                pause = max(preview_seconds, PREVIEW_COST * (last - now))
            else:
                contrast = step.contrast[: len(self.request.pictures)]  # those of mirror images follow
                yield self._event("step", *self._place, contrast=tuple(contrast.tolist()))

    def _recover_decoys(self, steps: int | None, progress_seconds: float | None) -> Generator[RunEvent]:
        """Recover the line-up's decoys as the pictures were recovered; they are neither scored nor judged."""
        assert self.plan is not None and self.plan.lineup is not None and self.judged is not None
        lineup, of = self.plan.lineup, self.config.recovery.steps
        decoys = [self.request.controls[self.plan.controls[i]] for i in lineup.decoys]
        config = replace(self.config, mirrored_recovery=False)
        self.decoys = self.decoys or start_recovery(self.pair, decoys, config)
        last = time.monotonic()
        for _ in continue_recovery(self.pair, self.decoys, self.config.recovery, steps):
            progress = None
            if progress_seconds is not None and time.monotonic() - last >= progress_seconds:
                progress, last = self._progress(), time.monotonic()
            yield self._event("decoys", self.decoys.steps, of, progress=progress)
        if self.decoys.steps < of:
            yield self._event("paused", self.decoys.steps, of, progress=self._progress(), result=self.judged)
            return
        decoded = decode_recovery(self.pair, self.decoys)
        panels = tuple(map(Panel, [p.image for p in decoys], decoded.start, decoded.recovered))
        result = replace(self.judged, lineup=lineup, decoys=panels, seconds=self._seconds)
        yield self._event("finished", self.decoys.steps, of, progress=self._progress(), result=result)

    def _stopped_result(self) -> Result:
        """The result of a run that is not complete: shown, not judged."""
        flags: list[tuple[Flag, ...]] = [(stopped_flag(*self._place),)] * len(self.request.pictures)
        return self._result(decode_recovery(self.pair, self.state), {}, flags, None, [AS_GIVEN] * len(flags), ())

    def _judge(self) -> Result:
        """Score what was recovered, and judge. The recovery can take an answer back, and give none."""
        pair, state = self.pair, self.state
        decoded, (scores, views) = decode_recovery(pair, state), self.measured.contrasts
        recovered = score_recovery(self.request.pictures, state, decoded.recovered, self.embedders)
        table = {**self._mirror_table, VERDICT_SCORE: scores, **recovered}
        contrast, ratio = state.pictures.contrast.cpu(), state.pictures.gradient_ratio.cpu()
        flags = [(*check_run(contrast[:, i], ratio[:, i]), *more) for i, more in enumerate(self._flags)]
        return self._result(decoded, table, flags, self.measured.distances, views, tuple(self._controls))

    def _result(
        self,
        decoded: DecodedRecovery,
        table: Mapping[str, Float[Tensor, " b"]],
        flags: Sequence[tuple[Flag, ...]],
        distances: Sequence[float] | None,
        views: Sequence[str],
        controls: tuple[Picture, ...],
        nulls: tuple[float, ...] | None = None,
    ) -> Result:
        """Judge what was measured so far, by `nulls` or all null scores; add what identifies the run."""
        assert self.plan is not None
        contrast, bank = self.state.pictures.contrast.cpu(), self.request.bank
        measured = [
            MeasuredPicture(
                picture=self._noted(i),
                scores=add_residual({k: v[i].item() for k, v in table.items()}, bank, self.request.pictures[i].sha256),
                score_errors=self._errors(i) if MIRROR_SCORE in table else {},
                flags=flags[i],
                partial=decoded.start[i],
                recovered=decoded.recovered[i],
                mirrored=None if decoded.mirrored is None else decoded.mirrored[i],
                contrast=tuple(contrast[:, i].tolist()),
                distance_from_base=None if distances is None else distances[i],
                view=views[i],
            )
            for i in range(len(flags))
        ]
        if nulls is None:
            nulls = tuple(self.scores) if bank is None else bank.content.nulls
        members, residuals = () if bank is None else bank.content.members, residuals_of(bank)
        power = self.plan.expected_power
        digests = [p.sha256 for p in self.needed]
        mirror = mirror_reference(self.pair, self.config.mirror_draws, self.reference_scores, digests)
        pictures, together = judge_pictures(
            measured, nulls, members, null_residuals=residuals, mirror=mirror, power=power
        )
        return Result(
            pictures=pictures,
            control_scores=nulls if residuals is None else residuals,
            mirror=mirror,
            not_computed=self.embedders.missing,
            config=self.config,
            fingerprints=self.pair.fingerprints,
            seconds=self._seconds,
            together=together,
            machine=describe_machine(self.pair),
            controls=controls,
            bank=bank,
            expected_power=self.plan.expected_power,
            weight_distance=weight_distance(self.pair),
        )

    def _errors(self, index: int) -> dict[str, float]:
        error = self.mirror[index].error
        return {MIRROR_SCORE: error} if isfinite(error) else {}

    def _noted(self, index: int) -> Picture:
        """A picture with notes of the controls that are its near-duplicates."""
        assert self.plan is not None
        names = [PurePath(self.request.controls[i].name).name for i in self.plan.copies[index]]
        picture = self.request.pictures[index]
        return replace(picture, notes=(*picture.notes, *copy_notes(names)))
