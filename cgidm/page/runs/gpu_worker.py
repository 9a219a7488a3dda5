"""The part of a run that needs the GPU: one chunk of it. What goes in and comes out can be pickled.

The decoys of a line-up are recovered after the pictures, as a second batch: so a line-up changes nothing of the
answer, not even a rounding, nor how soon it is there; and the bundle's repeated run, which does the same, agrees.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import Any, Literal

import torch

from cgidm import ModelPair
from cgidm.authenticate import (
    Result,
    expect_power,
    finish_run,
    make_panels,
    make_result,
    measure_shift,
    score_controls,
    start_run,
)
from cgidm.errors import UserError
from cgidm.judging.lineup import Lineup, plan_lineup
from cgidm.judging.null_bank import Bank
from cgidm.method.config import RunConfig
from cgidm.method.run_state import RunState, continue_recovery
from cgidm.pictures.embedders import Embedders, load_embedders
from cgidm.pictures.images import Picture, decode_picture

from . import hardware
from .model_cache import PAIRS, Opened
from .store import Sent

GROUP = 2  # control pictures scored between two looks at whether the visitor is still there
SHOWN_EVERY = 1.0  # seconds between two previews, or ten times what one costs
Phase = Literal["loaded", "foreseen", "controls", "step", "shown", "judged", "decoys", "done", "refused"]


@dataclass(frozen=True, eq=False)
class Job:
    """One chunk of a run."""

    models: Opened
    pictures: tuple[Sent, ...]
    controls: tuple[Sent, ...]
    config: RunConfig
    bank: Bank | None = None  # instead of controls
    control_scores: tuple[float, ...] = ()  # of the first controls, known already
    foreseen: dict[str, Any] | None = None  # what of the record is known beforehand; None: not yet
    lineup: Lineup | None = None  # where `config` asks for one, once it is drawn
    state: RunState | None = None  # None: not begun
    decoys: RunState | None = None  # the same of the line-up's decoys
    judged: Result | None = None  # of the pictures, once they are done: all but the line-up
    steps: int | None = None  # to take in this chunk, of the pictures or else of the decoys; None: all
    spent: float = 0.0  # seconds, in earlier chunks

    @property
    def left(self) -> int:
        """Steps that the pictures still need."""
        return self.config.recovery.steps - (self.state.steps if self.state else 0)

    @property
    def rows(self) -> int:
        """How many are recovered at once: the pictures, then the decoys."""
        return len(self.pictures) if self.left else self.decoy_count or len(self.pictures)

    @property
    def decoy_count(self) -> int:
        """The line-up's decoys; before it is drawn, the most that there can be."""
        if self.lineup is not None:
            return len(self.lineup.decoys)
        return most_decoys(len(self.pictures), len(self.controls), self.config)

    def evaluations(self) -> int:
        """Network evaluations of this chunk."""
        steps = self.left if self.steps is None else min(self.left, self.steps)
        scored = len(self.controls) - len(self.control_scores)
        if steps == self.left and self.judged is None:
            scored += len(self.pictures)
        return count_evaluations(len(self.pictures), steps, scored, self.config) + self._evaluations_of_decoys()

    def _evaluations_of_decoys(self) -> int:
        """A chunk that was given a number of steps takes those of the pictures or those of the decoys."""
        if self.left and self.steps is not None:
            return 0
        left = self.config.recovery.steps - (self.decoys.steps if self.decoys else 0)
        return count_evaluations(self.decoy_count, min(left, self.steps or left), 0, self.config)


@dataclass(frozen=True, eq=False)
class Update:
    """What came of it so far."""

    phase: Phase
    done: int = 0
    of: int = 0
    contrast: tuple[float, ...] = ()  # of this step, each picture's
    control_scores: tuple[float, ...] = ()
    foreseen: dict[str, Any] | None = None  # with "foreseen"
    lineup: Lineup | None = None  # with "foreseen"
    state: RunState | None = None  # on the CPU; with "shown", "judged" and "done", and at the end of the chunk
    decoys: RunState | None = None  # on the CPU; with some "decoys", and at the end of the chunk
    result: Result | None = None  # "shown": as if it had been stopped here; "judged", "done": the pictures' own
    spent: float = 0.0  # seconds; with either state
    refused: str | None = None  # what a UserError said: ZeroGPU would hand over no more than its name


def count_evaluations(rows: int, steps: int, scored: int, config: RunConfig) -> int:
    """Evaluations (forward and input gradient) of so many steps of so many pictures, and of scorings, both models.

    A scoring is forward only, which costs about a third; it takes each of `config.views`.
    """
    return round(2 * (rows * steps * config.recovery.draws + scored * len(config.views) * config.loss_draws / 3))


def most_decoys(pictures: int, controls: int, config: RunConfig) -> int:
    """The decoys of a line-up if no two pictures are alike: those of one round for each, while controls last."""
    if config.lineup is None:
        return 0
    each = config.lineup - 1
    return each * min(pictures, controls // each)


def seconds_asked(job: Job, *_: object, **__: object) -> int:
    """How long a chunk may take: what ZeroGPU is asked for."""
    return ceil(hardware.LOADING + 1.4 * job.evaluations() * PACE.seconds(job.models.key))


PACE = hardware.Pace()


@hardware.on_gpu(seconds_asked)
def work(job: Job) -> Generator[Update]:
    """Do one chunk of a run. It yields at every step, so that it ends soon after nobody listens any more."""
    try:
        yield from _Chunk(job).work()
    except UserError as error:
        yield Update("refused", refused=str(error))


class _Chunk:
    """A chunk while it is worked on."""

    def __init__(self, job: Job) -> None:
        self.begun = time.monotonic()
        self.job, self.config = job, job.config
        self.pair = PAIRS.get(job.models)
        self.pictures = [_decode(sent, self.pair.resolution) for sent in job.pictures]
        self.scores = list(job.control_scores)
        self._controls: dict[int, Picture] = {}

    def work(self) -> Generator[Update]:
        yield Update("loaded")
        self.state = self.job.state or start_run(self.pair, self.pictures, self.config)
        if self.job.foreseen is None:
            yield self._foresee()
        left, result = self.job.left, self.job.judged  # now: the job's state goes on with the run
        if result is None:
            if left:
                yield self._update("shown", self._result())
            yield from self._score_controls()
            yield from self._recover_pictures()
            result = self._result(judged=self._complete)
            if not self._complete:
                yield self._update("shown", result)
                return
        if self.job.lineup is None:
            yield self._update("done", result)
            return
        if self.job.judged is None:
            yield self._update("judged", result)
            if left and self.job.steps is not None:
                return  # the decoys have a chunk of their own
        yield from self._recover_decoys(self.job.lineup, result)

    @property
    def _complete(self) -> bool:
        return self.state.steps >= self.config.recovery.steps

    @property
    def _spent(self) -> float:
        return self.job.spent + time.monotonic() - self.begun

    def _control(self, index: int) -> Picture:
        """A control picture, decoded once."""
        if index not in self._controls:
            self._controls[index] = _decode(self.job.controls[index], self.pair.resolution)
        return self._controls[index]

    def _all_controls(self) -> tuple[Picture, ...]:
        return tuple(map(self._control, range(len(self.job.controls))))

    def _foresee(self) -> Update:
        """What of the record is known beforehand, its line-up too."""
        lineup = None
        if self.config.lineup is not None:
            lineup = plan_lineup(self.pictures, self._all_controls(), self.config.lineup, self.config.seed)
        self.job = replace(self.job, lineup=lineup, foreseen=foresee(self.pair, self.pictures, self.state, self.job))
        return Update("foreseen", foreseen=self.job.foreseen, lineup=lineup)

    def _score_controls(self) -> Generator[Update]:
        every = len(self.job.controls)
        for first in range(len(self.scores), every, GROUP):
            group = [self._control(i) for i in range(first, min(first + GROUP, every))]
            self.scores += score_controls(self.pair, group, self.config)
            yield Update("controls", len(self.scores), every, control_scores=tuple(self.scores))

    def _recover_pictures(self) -> Generator[Update]:
        steps = self.config.recovery.steps
        last, pause = time.monotonic() - SHOWN_EVERY, SHOWN_EVERY
        for step in continue_recovery(self.pair, self.state, self.config.recovery, self.job.steps):
            now = time.monotonic()
            if now - last >= pause and step.index + 1 < steps:
                yield self._update("shown", self._result())
                last = time.monotonic()
                pause = max(SHOWN_EVERY, 10 * (last - now))
            else:
                contrast = tuple(step.contrast.tolist())
                yield Update("step", self.state.steps, steps, contrast, tuple(self.scores))

    def _recover_decoys(self, lineup: Lineup, result: Result) -> Generator[Update]:
        """Recover what the line-up shows beside the pictures; its last update is the end of the run."""
        shown, steps = [self._control(i) for i in lineup.decoys], self.config.recovery.steps
        state = self.job.decoys or start_run(self.pair, shown, self.config)
        last = time.monotonic()
        for _ in continue_recovery(self.pair, state, self.config.recovery, self.job.steps):
            kept = None
            if time.monotonic() - last >= SHOWN_EVERY:
                kept, last = state.on_cpu(), time.monotonic()
            yield Update("decoys", state.steps, steps, decoys=kept, spent=self._spent)
        if state.steps < steps:
            yield Update("decoys", state.steps, steps, decoys=state.on_cpu(), spent=self._spent)
            return
        panels = make_panels(self.pair, shown, state)
        yield self._update("done", replace(result, lineup=lineup, decoys=panels, seconds=self._spent))

    def _update(self, phase: Phase, result: Result) -> Update:
        kept, of = self.state.on_cpu(), self.config.recovery.steps
        contrast = tuple(kept.contrast[-1].tolist()) if kept.steps else ()
        return Update(
            phase, kept.steps, of, contrast, tuple(self.scores), state=kept, result=result, spent=result.seconds
        )

    def _result(self, judged: bool = False) -> Result:
        """The result where the run stands: judged if it is complete, otherwise as if it had been stopped.

        One that was stopped has what was foreseen; a complete one has found it itself, with the same draws. The
        controls are looked at once, when the pictures are judged, and do not travel with the result.
        """
        job, known = self.job, embedders()
        others = tuple(self.scores) if job.bank is None else job.bank.content.nulls
        results = finish_run(self.pair, self.pictures, self.state, others, self.config, known)
        controls = self._all_controls() if judged else ()
        result = make_result(self.pair, results, others, self.config, known, self._spent, controls, job.bank)
        return replace(result, controls=()) if judged else replace(result, **job.foreseen or {})


def foresee(pair: ModelPair, pictures: list[Picture], state: RunState, job: Job) -> dict[str, Any]:
    """What of the record is known before the first step: what share of used pictures such a run finds."""
    shifts = measure_shift(pair, pictures, state.z, job.config).tolist()
    return {"power": expect_power(pair, shifts, job.bank)}


@lru_cache(maxsize=1)
def embedders() -> Embedders:
    """What measures similarity; CLIP and DINO are fetched once, where the Hub can be reached."""
    return load_embedders(hardware.device(), download=torch.cuda.is_available())


def _decode(sent: Sent, side: int) -> Picture:
    picture = decode_picture(sent.data, sent.name, side)
    return replace(picture, notes=(*picture.notes, *sent.notes))
