"""What a run asks for, said before it starts, by the same count that a chunk asks the GPU with."""

from dataclasses import dataclass

from cgidm.method.config import RunConfig
from cgidm.run.plan import with_centre_square

from . import hardware
from .gpu_worker import PACE, count_evaluations, most_decoys, recovery_rows


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Expected cost of one run on this machine."""

    evaluations: int  # forward passes and input gradients
    seconds: float
    measured: bool  # by an earlier run with these models; or a guess
    kind: hardware.Kind
    gpu_seconds: float | None  # of ZeroGPU in one request; None on other machines


def cost_of(
    pictures: int, controls: int, config: RunConfig, *, uneven: int = 0, unrelated: bool = False, model: str = ""
) -> Cost:
    """Estimate the cost of a run before it starts.

    Args:
        pictures: how many are in question.
        controls: how many control pictures are scored.
        config: steps, draws, views, and whether there is a line-up.
        uneven: pictures that are not square, which are looked at twice unless the suspect's file notes its framing.
        unrelated: whether an unrelated suspect scores all of them, too.
        model: the key of an opened pair, if it is known.
    """
    config = with_centre_square(config) if uneven else config
    recovered = recovery_rows(pictures, config) + most_decoys(pictures, controls, config)
    scored = (pictures + controls) * (2 if unrelated else 1)
    evaluations = count_evaluations(recovered, config.recovery.steps, scored, config, mirrored=pictures + uneven)
    kind, seconds = hardware.kind(), evaluations * PACE.seconds(model)
    gpu_seconds = hardware.LOADING + 1.4 * min(seconds, hardware.SECONDS_PER_REQUEST) if kind == "zero" else None
    return Cost(
        evaluations=evaluations, seconds=seconds, measured=PACE.measured(model), kind=kind, gpu_seconds=gpu_seconds
    )
