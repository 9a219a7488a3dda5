"""What this machine is, and the one place where a GPU is asked for.

On ZeroGPU a function that needs the GPU runs in a forked worker: what goes in and comes out is pickled, and how long it
may take is said beforehand. Elsewhere the same function simply runs.
"""

import importlib.util
import os
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

# before torch: the package has to see CUDA before anybody else does
if importlib.util.find_spec("spaces") is not None:
    import spaces
else:
    spaces = None

import torch

from cgidm.method.memory_plan import free_memory

Kind = Literal["cpu", "gpu", "zero"]
LARGEST_ON_CPU = 100_000_000  # numbers in a model: the shipped one has 8 million, Stable Diffusion 1.4 1,070
SECONDS_PER_REQUEST = 60  # seconds of ZeroGPU in one request: small enough for every visitor's daily quota
# seconds of one network evaluation (forward and input gradient), by kind: guesses until a run has been timed here
FIRST_GUESS: dict[Kind, float] = {"cpu": 0.03, "gpu": 0.08, "zero": 0.08}
LOADING = 20  # seconds that a worker may need for its models


def kind() -> Kind:
    """This machine: "zero" (a GPU lent for seconds), "gpu" (one of its own), or "cpu"."""
    if os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true"):
        return "zero"
    return "gpu" if torch.cuda.is_available() else "cpu"


def device() -> str:
    """Where a run computes; asked inside it, since a worker of ZeroGPU alone sees the GPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def gpu_memory() -> int | None:
    """Bytes that were free on the GPU when they were first asked for; None where it is lent, or there is none."""
    return free_memory(torch.device("cuda")) if kind() == "gpu" else None


def describe() -> str:
    """The device by its name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"


def on_gpu(duration: Callable[..., int]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run the function where the GPU is; `duration` gets its arguments and returns whole seconds."""
    return (lambda task: task) if spaces is None else spaces.GPU(duration=duration)


class Pace:
    """Seconds of a network evaluation on this machine, learnt from the runs it has done."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def seconds(self, model: str) -> float:
        """Of one evaluation of a model: as measured last, else of any model, else a guess."""
        return self._known.get(model) or next(iter(self._known.values()), FIRST_GUESS[kind()])

    def measured(self, model: str) -> bool:
        """Whether a run of this model has been timed."""
        return model in self._known

    def learn(self, model: str, seconds: float) -> None:
        """Take in the seconds of one evaluation; the last runs count most."""
        before = self._known.get(model, seconds)
        self._known[model] = 0.7 * before + 0.3 * seconds
