"""The conductor: from pictures and a pair of models to verdicts, in the one order that every caller follows.

`authentication_steps` is the protocol, a generator of events that can be put down at any of them and taken up again.
The command line, the page and a repeated run drain it, each in its own way; `authenticate` is the shortest.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import UserError
from .judging.distance import weight_distance
from .judging.flags import Flag, check_run, stopped_flag
from .judging.judge_pictures import judge_pictures
from .judging.lineup import Panel, plan_lineup
from .judging.measurements import Measurements
from .judging.mirror_test import mirror_reference, needed_references
from .judging.null_bank import Bank, check_bank
from .judging.power import expect_power
from .judging.residuals import add_residual, residuals_of
from .judging.result import MIRROR_SCORE, VERDICT_SCORE, MeasuredPicture, Result
from .judging.scoring import picture_generators, score_controls, score_mirror, score_recovery
from .judging.verdict import is_positive
from .method.config import RunConfig
from .method.models import ModelPair
from .method.partial import make_partial
from .method.run_state import RunState, continue_recovery, decode_recovery, new_state
from .method.views import AS_GIVEN
from .pictures.duplicates import copy_notes, near_duplicates
from .pictures.embedders import Embedders
from .pictures.images import Picture
from .provenance import describe_machine
from .run_events import Phase, RunEvent, RunPlan, RunProgress, RunRequest

PREVIEW_COST = 10  # a preview is shown no sooner than this many times its own cost after the last


def authenticate(
    pair: ModelPair,
    pictures: Sequence[Picture],
    controls: Sequence[Picture] = (),
    *,
    config: RunConfig | None = None,
    embedders: Embedders | None = None,
    bank: Bank | None = None,
    reference: Sequence[Picture] = (),
    unrelated: ModelPair | None = None,
    progress: Callable[[RunEvent], None] | None = None,
) -> Result:
    """Recover and score each picture, and judge it against controls or a bank of null models.

    Args:
        pair: base and suspect (`load_pair`).
        pictures: the pictures in question, each of `pair.resolution` pixels (`read_picture`).
        controls: pictures known not to be in the training set, of the same artist. One that is a near-duplicate of a
            picture is not used.
        config: how the run is done; `PRESETS["paper"]` if not given.
        embedders: measure likeness as CLIP or DINO see it (`load_embedders`); none if not given.
        bank: null models instead of controls.
        reference: pictures by many hands, surely not used, for the mirror test. They are not needed for a base whose
            null scores were measured (`judging.mirror_test`). `read_reference_pictures` reads those that ship.
        unrelated: a suspect of the same base and other pictures: it must not tell the pictures from the controls.
        progress: is called with each event.

    Raises:
        UserError: if the pictures, controls or bank cannot be used together.
    """
    settings = {"config": config or RunConfig(), "bank": bank, "reference": reference}
    request = RunRequest(pictures=pictures, controls=controls, **settings)
    other = None if unrelated is None else lambda: unrelated
    result = None
    for event in authentication_steps(pair, request, embedders=embedders, unrelated=other):
        if progress is not None:
            progress(event)
        result = event.result
    assert result is not None, "the last event holds the result"
    return result


def authentication_steps(
    pair: ModelPair,
    request: RunRequest,
    progress: RunProgress | None = None,
    *,
    embedders: Embedders | None = None,
    unrelated: Callable[[], ModelPair] | None = None,
    steps: int | None = None,
    preview_seconds: float | None = None,
    controls_per_event: int | None = None,
) -> Generator[RunEvent]:
    """Carry a run out from where `progress` stands, yielding often. Closing the generator puts the run down.

    The order: plan (controls without near-duplicates, line-up), mirror test, expected power, scores of the controls,
    negative controls, verdicts ("answered"); then the recovery, which can only take them back, and a line-up's decoys.
    Where nothing but the recovery could change it, the answer is there after the mirror test. The last event is
    "finished", or "paused" after `steps`.

    Args:
        pair: base and suspect.
        request: pictures, controls or bank, configuration.
        progress: where an earlier sitting put the run down; from the beginning if not given.
        embedders: see `authenticate`.
        unrelated: loads the unrelated suspect when it is needed.
        steps: how many to take in this sitting: of the pictures, or of the decoys once these are judged.
        preview_seconds: time between two "preview" events; without it there are none.
        controls_per_event: controls scored between two events; all, if not given.

    Raises:
        UserError: if the pictures, controls or bank cannot be used together.
    """
    if not request.pictures:
        raise UserError("run.no_pictures")
    if request.bank is not None:
        if request.controls:
            raise UserError("run.bank_and_controls")
        if unrelated is not None:
            raise UserError("run.bank_and_unrelated")
        check_bank(request.bank, pair.fingerprints, pair.is_full_network, request.config)
    run = _Run(pair, request, progress or RunProgress(), embedders or Embedders(), unrelated)
    yield from run.steps(steps, preview_seconds, controls_per_event)


def plan_run(request: RunRequest) -> RunPlan:
    """Set aside the controls that are near-duplicates of a picture, and draw the line-up. No model is needed.

    A near-duplicate cannot be known to be unused and be in question at once.

    Raises:
        UserError: if the controls do not suffice for the line-up.
    """
    table = near_duplicates([p.image for p in request.pictures], [c.image for c in request.controls])
    used = [i for i, copied in enumerate(table.T) if not copied.any()]
    copies = tuple(tuple(i for i, same in enumerate(row) if same) for row in table)
    lineup, config = None, request.config
    if config.lineup is not None:
        lineup = plan_lineup(request.pictures, [request.controls[i] for i in used], config.lineup, config.seed)
    return RunPlan(controls=tuple(used), copies=copies, lineup=lineup)


def start_recovery(pair: ModelPair, pictures: Sequence[Picture], config: RunConfig) -> RunState:
    """The state of a recovery before its first step; `continue_recovery` takes the steps."""
    images = torch.stack([p.image for p in pictures]).to(pair.device)
    z = pair.codec.encode(images)
    partial = make_partial(config.partial, pair.codec, images, z, config.start)
    return new_state(z, partial, picture_generators(pictures, config, "recovery"))


class _Run:
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
        options = {"config": self.config, "bank": request.bank, "unrelated": unrelated, "embedders": embedders}
        self.measured = Measurements(pair=pair, pictures=request.pictures, z=self.state.z, **options)

    def steps(
        self, steps: int | None, preview_seconds: float | None, controls_per_event: int | None
    ) -> Generator[RunEvent]:
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
        contrast = tuple(progress.state.contrast[-1].tolist()) if progress.state.steps else ()
        return self._event(phase, *self._place, contrast=contrast, progress=progress, result=self._stopped_result())

    @cached_property
    def _flags(self) -> list[tuple[Flag, ...]]:
        return self.measured.flags(self._controls)

    @property
    def _mirror_table(self) -> dict[str, Float[Tensor, " b"]]:
        return {MIRROR_SCORE: torch.tensor(self.mirror)} if self.mirror else {}

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
                scores += score_mirror(self.pair, part, self.config)
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
                yield self._event("step", *self._place, contrast=tuple(step.contrast.tolist()))

    def _recover_decoys(self, steps: int | None, progress_seconds: float | None) -> Generator[RunEvent]:
        """Recover the line-up's decoys as the pictures were recovered; they are neither scored nor judged."""
        assert self.plan is not None and self.plan.lineup is not None and self.judged is not None
        lineup, of = self.plan.lineup, self.config.recovery.steps
        shown = [self.request.controls[self.plan.controls[i]] for i in lineup.decoys]
        self.decoys = self.decoys or start_recovery(self.pair, shown, self.config)
        last = time.monotonic()
        for _ in continue_recovery(self.pair, self.decoys, self.config.recovery, steps):
            progress = None
            if progress_seconds is not None and time.monotonic() - last >= progress_seconds:
                progress, last = self._progress(), time.monotonic()
            yield self._event("decoys", self.decoys.steps, of, progress=progress)
        if self.decoys.steps < of:
            yield self._event("paused", self.decoys.steps, of, progress=self._progress(), result=self.judged)
            return
        panels = tuple(map(Panel, [p.image for p in shown], *decode_recovery(self.pair, self.decoys)))
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
        recovered = score_recovery(self.request.pictures, state, decoded[1], self.embedders)
        table = {**self._mirror_table, VERDICT_SCORE: scores, **recovered}
        contrast, ratio = state.contrast.cpu(), state.gradient_ratio.cpu()
        flags = [(*check_run(contrast[:, i], ratio[:, i]), *more) for i, more in enumerate(self._flags)]
        return self._result(decoded, table, flags, self.measured.distances, views, tuple(self._controls))

    def _result(
        self,
        decoded: tuple[Float[Tensor, "b 3 H W"], Float[Tensor, "b 3 H W"]],
        table: Mapping[str, Float[Tensor, " b"]],
        flags: Sequence[tuple[Flag, ...]],
        distances: Sequence[float] | None,
        views: Sequence[str],
        controls: tuple[Picture, ...],
        nulls: tuple[float, ...] | None = None,
    ) -> Result:
        """Judge what was measured so far, by `nulls` or all null scores; add what identifies the run."""
        assert self.plan is not None
        (starts, recoveries), contrast, bank = decoded, self.state.contrast.cpu(), self.request.bank
        measured = [
            MeasuredPicture(
                picture=self._noted(i),
                scores=add_residual({k: v[i].item() for k, v in table.items()}, bank, self.request.pictures[i].sha256),
                flags=flags[i],
                partial=starts[i],
                recovered=recoveries[i],
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

    def _noted(self, index: int) -> Picture:
        """A picture with notes of the controls that are its near-duplicates."""
        assert self.plan is not None
        names = [PurePath(self.request.controls[i].name).name for i in self.plan.copies[index]]
        picture = self.request.pictures[index]
        return replace(picture, notes=(*picture.notes, *copy_notes(names)))
