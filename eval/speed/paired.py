"""`reference` and `paper` in turns, so that whatever else the machine does meets both; each in a process of its own.

In one process they would disturb each other: `paper` has a second thread, beside which those of small batches no longer
wait awake, and `reference` took a third longer.
"""

import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eval.speed.arms import draw_latents, preset_of, stepping, stepping_reference
from eval.speed.clock import Budget, Plan, seconds_of
from eval.speed.overhead import time_overhead
from eval.speed.reference import reference_dtype
from eval.speed.subjects import PairKind, find_subject

WARM_UPS, LEAST = 2, 3  # steps; rounds
REFERENCE_STEPS = 3  # of a round: it takes one picture a step and lasts shorter than ours of eight
OVERHEAD_PLAN = Plan(seconds=1.0)
Clock = Callable[[int], float]  # so many steps -> seconds of one


@dataclass(frozen=True)
class Contender:
    """What one process computes: `paper`, or `reference` where no pictures at once are given."""

    model: str
    kind: PairKind
    device: torch.device
    dtype: torch.dtype
    assets: Path
    pictures: int | None = None


_kept = ExitStack()  # of this process: open until it ends
_steps: list[Callable[[], float]] = []  # of this process, one: takes a step and returns its seconds


@contextmanager
def process_of(arm: Contender) -> Iterator[tuple[Clock, float]]:
    """A new process that holds `arm`: what times its steps, and the seconds of a picture's overhead.

    Raises:
        BrokenProcessPool: if it ends early.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        overhead = process.submit(_open, arm).result()
        yield lambda steps: process.submit(_seconds, steps).result(), overhead


def measure_paired(
    arm: Contender, dtypes: Sequence[torch.dtype], pictures: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """How many times as many pictures an hour `paper` judges in each of `dtypes`, at as many network evaluations.

    `arm` says what `reference` computes; `seconds` are those of all rounds. The figure is the median over rounds, each
    of which compares what was measured within it.
    """
    evaluations = preset_of("paper").evaluations()
    with ExitStack() as stack:
        reference, _ = stack.enter_context(process_of(arm))
        papers = [Contender(arm.model, arm.kind, arm.device, dtype, arm.assets, pictures) for dtype in dtypes]
        ours = [stack.enter_context(process_of(paper)) for paper in papers]
        rounds, budget = [], Budget.of(seconds)
        while len(rounds) < LEAST or budget.left > 0:
            rounds.append((reference(REFERENCE_STEPS) / 2, [clock(1) / (2 * pictures) for clock, _ in ours]))
    for i, (paper, (_, overhead)) in enumerate(zip(papers, ours, strict=True)):
        each = [(r * evaluations + overhead) / (p[i] * evaluations + overhead) for r, p in rounds]
        yield {
            "model": arm.model,
            "pair": arm.kind,
            "dtype": str(paper.dtype).removeprefix("torch."),
            "pictures": pictures,
            "rounds": len(rounds),
            "reference_seconds": statistics.median(r for r, _ in rounds),
            "paper_seconds": statistics.median(p[i] for _, p in rounds),
            "times_reference": statistics.median(each),
        }


def usual_dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """Those that users choose between: on a GPU that is half precision."""
    return (torch.float16,) if device.type == "cuda" else (torch.float32, torch.bfloat16)


def _open(arm: Contender) -> float:
    """Keep the arm in this process until it ends. Returns a picture's overhead in seconds; `reference` has none."""
    subject, overhead = find_subject(arm.model, arm.assets), 0.0
    latents = draw_latents(subject.latent, arm.pictures or 1, arm.device)
    if arm.pictures is None:
        assert subject.open_two is not None, "refused before"
        two = subject.open_two(arm.kind, arm.device, reference_dtype(arm.device, arm.dtype))
        step = _kept.enter_context(stepping_reference(two, latents))
    else:
        pair = subject.open_pair(arm.kind, arm.device, arm.dtype)
        overhead = time_overhead(pair, subject.latent, OVERHEAD_PLAN).median
        step = _kept.enter_context(stepping(pair, "paper", latents))
    _steps.append(lambda: seconds_of(step, arm.device))
    _seconds(WARM_UPS)
    return overhead


def _seconds(steps: int) -> float:
    """Of one step, the mean of so many."""
    return statistics.mean([_steps[0]() for _ in range(steps)])
