"""Time, taken so that it means something: warm first, the device waited for, a median with its spread."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

LONG = 60.0  # seconds; of a longer call, what is warm and what is not no longer matters


@dataclass(frozen=True)
class Plan:
    """How a measurement is spread over the seconds that it may take."""

    seconds: float = 4.0
    warm_ups: int = 2
    least: int = 3
    most: int = 30


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    median: float
    low: float  # lower quartile
    high: float  # upper quartile
    repeats: int  # 1: a call took longer than was planned for all of them


@dataclass(frozen=True)
class Budget:
    """Until when measurements may be started."""

    deadline: float  # of time.monotonic()

    @classmethod
    def of(cls, seconds: float) -> "Budget":
        """A budget that ends so many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def share(self, among: int) -> "Budget":
        """An equal part of what is left, for the first of `among`."""
        return Budget.of(max(self.left, 0) / among)


def wait_for(device: torch.device) -> None:
    """Until everything that was asked of `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_call(call: Callable[[], object], device: torch.device, plan: Plan) -> Timing:
    """The seconds that `call` takes: the first calls are thrown away, the next ones fill what the plan allows.

    Only of a call that takes longer than all of that, the last of the first calls counts; of a `LONG` one, the first.
    """
    warm: list[float] = []
    for _ in range(plan.warm_ups):
        warm.append(seconds_of(call, device))
        if warm[-1] > LONG:
            return summarise(warm[-1:])
    each = min(warm)
    if each > plan.seconds:
        return summarise(warm[-1:])
    repeats = max(plan.least, min(plan.most, int((plan.seconds - plan.warm_ups * each) / max(each, 1e-9))))
    return summarise([seconds_of(call, device) for _ in range(repeats)])


def summarise(seconds: list[float]) -> Timing:
    """Median and quartiles."""
    if len(seconds) == 1:
        return Timing(seconds[0], seconds[0], seconds[0], 1)
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, low, high, len(seconds))


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Time one call, from an idle device to an idle device."""
    wait_for(device)
    start = time.perf_counter()
    call()
    wait_for(device)
    return time.perf_counter() - start
