"""What a run asks for, said before it starts, by the same count that a chunk asks the GPU with."""

from dataclasses import dataclass

from cgidm.method.config import RunConfig

from . import hardware
from .gpu_worker import PACE, count_evaluations, most_decoys


@dataclass(frozen=True)
class Cost:
    """Of one run on this machine."""

    evaluations: int  # forward passes and input gradients
    seconds: float
    measured: bool  # by an earlier run with these models; or a guess
    kind: hardware.Kind
    asked: float | None  # seconds of ZeroGPU in one request


def cost_of(pictures: int, controls: int, config: RunConfig, model: str = "") -> Cost:
    """What such a run would ask for; `model` is the key of an opened pair, if it is known."""
    recovered = pictures + most_decoys(pictures, controls, config)
    evaluations = count_evaluations(recovered, config.recovery.steps, controls + pictures, config)
    kind = hardware.kind()
    seconds = evaluations * PACE.seconds(model)
    asked = hardware.LOADING + 1.4 * min(seconds, hardware.ASKED_AT_ONCE) if kind == "zero" else None
    return Cost(evaluations, seconds, PACE.measured(model), kind, asked)
