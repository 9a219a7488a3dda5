"""What every membership method shares: the interface, the contrast with the base and the rows of a schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.models import EpsModel, ModelPair
from cgidm.schedule import Schedule

PAPER_ROWS = 1000  # every paper here counts its time steps on a schedule of that length


class Method(Protocol):
    """A score of each picture; higher always means more likely a member.

    A picture's score never depends on its batch: what is random comes from the picture's own CPU generator. A method
    is a frozen dataclass: its `repr` shows all its settings, and so says what was run.
    """

    @property
    def name(self) -> str: ...

    @property
    def evaluations(self) -> int:
        """Network evaluations for one picture, both models together.

        One model's forward pass on one sample counts as 1. An input gradient would count like a forward pass; no
        method here takes one.
        """
        ...

    def __call__(
        self, pair: ModelPair, z: Float[Tensor, "b c h w"], generators: Sequence[torch.Generator]
    ) -> Float[Tensor, " b"]: ...


class Statistic(Protocol):
    """A method that asks one model only, so that any model can be asked."""

    @property
    def name(self) -> str: ...

    @property
    def evaluations(self) -> int: ...

    def statistic(
        self,
        model: EpsModel,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, " b"]: ...


class SuspectOnly:
    """Makes a statistic a method, as published: asked of the suspect, no base needed."""

    def __call__(
        self: Statistic, pair: ModelPair, z: Float[Tensor, "b c h w"], generators: Sequence[torch.Generator]
    ) -> Float[Tensor, " b"]:
        return self.statistic(pair.finetuned, pair.schedule, z, generators)


@dataclass(frozen=True)
class Contrast:
    """The suspect's statistic minus the base's on the same draws: what the public base knows already cancels.

    Calibration by a reference model is from Watson et al. (2022); here the reference is the suspect's own origin.
    """

    method: Statistic

    @property
    def name(self) -> str:
        return f"{self.method.name}_contrast"

    @property
    def evaluations(self) -> int:
        return 2 * self.method.evaluations

    def __call__(
        self, pair: ModelPair, z: Float[Tensor, "b c h w"], generators: Sequence[torch.Generator]
    ) -> Float[Tensor, " b"]:
        twins = [_twin(g) for g in generators]  # drawing moves a generator on, and both models must see one draw
        suspect = self.method.statistic(pair.finetuned, pair.schedule, z, generators)
        return suspect - self.method.statistic(pair.base, pair.schedule, z, twins)


def row_of(schedule: Schedule, step: int) -> int:
    """The row that lies as far along `schedule` as a paper's time step along 1000 rows."""
    return min(round(step * len(schedule) / PAPER_ROWS), len(schedule) - 1)


def predict_at(model: EpsModel, x: Float[Tensor, "b c h w"], row: int) -> Float[Tensor, "b c h w"]:
    """The predicted noise, all samples at the same row."""
    return model.predict_eps(x, rows_like(x, row))


def rows_like(x: Float[Tensor, "b c h w"], row: int) -> Tensor:
    return torch.full((len(x),), row, device=x.device)


def _twin(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())
