"""The part of a run that needs the GPU: one chunk of it. What goes in and comes out can be pickled."""

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
    make_result,
    measure_shift,
    score_controls,
    start_run,
)
from cgidm.config import RunConfig
from cgidm.errors import UserError
from cgidm.images import Picture, decode_picture
from cgidm.nullbank import Bank
from cgidm.similarity import Embedders, load_embedders
from cgidm.state import RunState, continue_recovery

from . import hardware
from .models import PAIRS, Opened
from .visit import Sent

GROUP = 2  # control pictures scored between two looks at whether the visitor is still there
SHOWN_EVERY = 1.0  # seconds between two previews, or ten times what one costs
Phase = Literal["loaded", "foreseen", "controls", "step", "shown", "done", "refused"]


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
    state: RunState | None = None  # None: not begun
    steps: int | None = None  # to take in this chunk; None: all
    spent: float = 0.0  # seconds, in earlier chunks

    def evaluations(self) -> int:
        """Network evaluations of this chunk."""
        left = self.config.recovery.steps - (self.state.steps if self.state else 0)
        steps = left if self.steps is None else min(left, self.steps)
        scored = len(self.controls) - len(self.control_scores) + (len(self.pictures) if steps == left else 0)
        return count_evaluations(len(self.pictures), steps, scored, self.config)


@dataclass(frozen=True, eq=False)
class Update:
    """What came of it so far."""

    phase: Phase
    done: int = 0
    of: int = 0
    contrast: tuple[float, ...] = ()  # of this step, each picture's
    control_scores: tuple[float, ...] = ()
    foreseen: dict[str, Any] | None = None  # with "foreseen"
    state: RunState | None = None  # on the CPU; with "shown", and at the end of the chunk
    result: Result | None = None  # "shown": as if it had been stopped here
    refused: str | None = None  # what a UserError said: ZeroGPU would hand over no more than its name


def count_evaluations(pictures: int, steps: int, scored: int, config: RunConfig) -> int:
    """Evaluations (forward and input gradient) of so many steps and scorings, both models.

    A scoring is forward only, which costs about a third; it takes each of `config.views`.
    """
    return round(2 * (pictures * steps * config.recovery.draws + scored * len(config.views) * config.loss_draws / 3))


def seconds_asked(job: Job, *_: object, **__: object) -> int:
    """How long a chunk may take: what ZeroGPU is asked for."""
    return ceil(hardware.LOADING + 1.4 * job.evaluations() * PACE.seconds(job.models.key))


PACE = hardware.Pace()


@hardware.on_gpu(seconds_asked)
def work(job: Job) -> Generator[Update]:
    """Do one chunk of a run. It yields at every step, so that it ends soon after nobody listens any more."""
    try:
        yield from _work(job)
    except UserError as error:
        yield Update("refused", refused=str(error))


def _work(job: Job) -> Generator[Update]:
    begun = time.monotonic()
    pair = PAIRS.get(job.models)
    pictures = [_decode(sent, pair.side) for sent in job.pictures]
    yield Update("loaded")

    scores, steps = list(job.control_scores), job.config.recovery.steps
    state = job.state or start_run(pair, pictures, job.config)
    if job.foreseen is None:
        job = replace(job, foreseen=foresee(pair, pictures, state, job))
        yield Update("foreseen", foreseen=job.foreseen)
    yield _update("shown", state, steps, scores, _result(job, pictures, state, scores, begun))

    for first in range(len(scores), len(job.controls), GROUP):
        group = [_decode(sent, pair.side) for sent in job.controls[first : first + GROUP]]
        scores += score_controls(pair, group, job.config)
        yield Update("controls", len(scores), len(job.controls), control_scores=tuple(scores))

    last, pause = time.monotonic() - SHOWN_EVERY, SHOWN_EVERY
    for step in continue_recovery(pair, state, job.config.recovery, job.steps):
        now = time.monotonic()
        if now - last >= pause and step.index + 1 < steps:
            result = _result(job, pictures, state, scores, begun)
            yield _update("shown", state, steps, scores, result)
            last = time.monotonic()
            pause = max(SHOWN_EVERY, 10 * (last - now))
        else:
            yield Update("step", state.steps, steps, tuple(step.contrast.tolist()), tuple(scores))
    complete = state.steps >= steps
    result = _result(job, pictures, state, scores, begun)
    yield _update("done" if complete else "shown", state, steps, scores, result)


def _update(phase: Phase, state: RunState, of: int, scores: list[float], result: Result) -> Update:
    kept = state.on_cpu()
    contrast = tuple(kept.contrast[-1].tolist()) if kept.steps else ()
    return Update(phase, kept.steps, of, contrast, tuple(scores), state=kept, result=result)


def _result(job: Job, pictures: list[Picture], state: RunState, scores: list[float], begun: float) -> Result:
    """The result where the run stands: judged if it is complete, otherwise as if it had been stopped.

    One that was stopped has what was foreseen; a complete one has found it itself, with the same draws.
    """
    pair, known = PAIRS.get(job.models), embedders()
    others = tuple(scores) if job.bank is None else job.bank.content.nulls
    results = finish_run(pair, pictures, state, others, job.config, known)
    seconds = job.spent + time.monotonic() - begun
    result = make_result(pair, results, others, job.config, known, seconds, bank=job.bank)
    return result if state.steps >= job.config.recovery.steps else replace(result, **job.foreseen or {})


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
