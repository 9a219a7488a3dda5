"""What a run asks for, said before it starts, by the same count that a chunk asks the GPU with; and how far it is."""

from dataclasses import dataclass

from cgidm.method.config import RunConfig
from cgidm.run.events import Phase
from cgidm.run.plan import with_centre_square

from . import hardware
from .gpu_worker import PACE, count_evaluations, most_decoys, recovery_rows

SPREAD = {True: (0.7, 1.8), False: (0.5, 3.0)}  # of the time, by whether this machine has timed these models
OPENING = 2.0  # seconds for models that are here: opening, and writing the evidence


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Network evaluations of a run's parts, in their order: forward passes and input gradients."""

    mirror: int
    controls: int
    recovery: int
    decoys: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.mirror + self.controls + self.recovery + self.decoys

    def share(self, phase: Phase, done: int, of: int) -> float | None:
        """How much of the run is done, from 0 to 1, when a part of it is; None where a phase does not tell."""
        before = {"mirror": 0, "controls": self.mirror, "step": self.mirror + self.controls}
        before |= {"preview": before["step"], "judged": self.total - self.decoys, "decoys": self.total - self.decoys}
        sizes = {"mirror": self.mirror, "controls": self.controls, "step": self.recovery, "preview": self.recovery}
        if phase not in before or not self.total:
            return None
        size = sizes.get(phase, self.decoys)
        return min(1.0, (before[phase] + size * (done / of if of else 0)) / self.total)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Expected cost of one run on this machine."""

    parts: Parts
    seconds: tuple[float, float]  # until its end, from and to
    answer_seconds: tuple[float, float]  # until its answer, which comes before the recovery
    kind: hardware.Kind
    gpu_seconds: float | None  # of ZeroGPU in one request; None on other machines


def count_parts(pictures: int, controls: int, config: RunConfig, *, uneven: int = 0, unrelated: bool = False) -> Parts:
    """Count what the parts of a run take.

    Args:
        pictures: how many are in question.
        controls: how many control pictures are scored.
        config: steps, draws, views, and whether there is a line-up.
        uneven: pictures that are not square, which are looked at twice unless the suspect's file notes its framing.
        unrelated: whether an unrelated suspect scores all of them, too.
    """
    config = with_centre_square(config) if uneven else config
    steps, decoys = config.recovery.steps, most_decoys(pictures, controls, config)
    scored = (pictures + controls) * (2 if unrelated else 1)
    return Parts(
        mirror=count_evaluations(0, 0, 0, config, mirrored=pictures + uneven),
        controls=count_evaluations(0, 0, scored, config),
        recovery=count_evaluations(recovery_rows(pictures, config), steps, 0, config),
        decoys=count_evaluations(decoys, steps, 0, config),
    )


def cost_of(parts: Parts, model: str = "") -> Cost:
    """Estimate the cost of a run before it starts.

    Args:
        parts: of the run.
        model: the key of an opened pair, if it is known.
    """
    kind, pace = hardware.kind(), PACE.seconds(model)
    low, high = SPREAD[PACE.measured(model)]

    def seconds(evaluations: int) -> tuple[float, float]:
        return OPENING + low * evaluations * pace, OPENING + high * evaluations * pace

    whole = parts.total * pace
    gpu_seconds = hardware.LOADING + 1.4 * min(whole, hardware.SECONDS_PER_REQUEST) if kind == "zero" else None
    return Cost(
        parts=parts,
        seconds=seconds(parts.total),
        answer_seconds=seconds(parts.mirror + parts.controls),
        kind=kind,
        gpu_seconds=gpu_seconds,
    )
