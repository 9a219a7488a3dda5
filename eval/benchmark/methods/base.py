"""What every method shares: what it may look at, what it answers, and the rows of a schedule."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cgidm.method.models import EpsModel, ModelPair
from cgidm.method.sampling import picture_generator
from cgidm.method.schedule import Schedule
from cgidm.pictures.embedders import Embedder

PAPER_ROWS = 1000  # every paper here counts its time steps on a schedule of that length


def _no_null_pictures() -> Float[Tensor, "m c h w"]:
    raise ValueError("This case has no null pictures.")


@dataclass(frozen=True, eq=False)
class Case:
    """A suspect and the pictures that it is asked about: all that a method may look at.

    Who is a member is not part of it, nor which half is: `groups` only says which pictures belong together.
    """

    pair: ModelPair
    blank: Callable[[], ModelPair]  # the same two models with a blank prompt; loaded when first asked for
    images: Float[Tensor, "b 3 H W"]
    z: Float[Tensor, "b c h w"]
    sha256: tuple[str, ...]  # of the pictures' files
    groups: Int[Tensor, " b"]  # 0 or 1: the concept's two halves
    embedders: Mapping[str, Embedder] = field(default_factory=dict)
    seed: int = 0
    # latents of pictures by other artists that no suspect was trained on; loaded when first asked for
    null_pictures: Callable[[], Float[Tensor, "m c h w"]] = _no_null_pictures

    def generators(self, purpose: str) -> list[torch.Generator]:
        """A fresh generator for each picture; the same purpose gives the same draws again."""
        return [picture_generator(self.seed, sha256, purpose) for sha256 in self.sha256]


@dataclass(frozen=True, eq=False)
class Answer:
    """One number for each picture; higher always means more likely a member."""

    measure: str  # what the number is, such as "contrast" or "removed_alignment"
    evaluations: int  # network evaluations that it took for one picture
    scores: Float[Tensor, " b"]


class Method(Protocol):
    """Looks at a case and answers with one or more measures.

    A picture's score never depends on its batch: what is random comes from the picture's own CPU generator. A method
    is a frozen dataclass: its `repr` shows all its settings, and so says what was run.
    """

    visual: ClassVar[bool]  # does it use the embedders at hand?

    @property
    def name(self) -> str:
        """Its name in ledgers and tables."""
        ...

    @property
    def evaluations(self) -> int:
        """Network evaluations for one picture, all models together.

        One model's forward pass on one sample counts as 1, with an input gradient too. Encoding and decoding are not
        counted.
        """
        ...

    def __call__(self, case: Case) -> list[Answer]:
        """Score the pictures of a case, by each of its measures."""
        ...


class Statistic(Protocol):
    """A method that asks one model only, so that any model can be asked."""

    @property
    def name(self) -> str:
        """As a method's."""
        ...

    @property
    def evaluations(self) -> int:
        """As a method's, for the two models of a pair."""
        ...

    def statistic(
        self,
        model: EpsModel,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, " b"]:
        """Score latents by one model, with noise from each one's generator; higher means more likely a member."""
        ...


class MembershipTest:
    """Makes a statistic a method with two measures.

    "suspect" is the statistic as published: no base is asked. "contrast" is the suspect's less the base's on the same
    draws: what the public base knows already cancels. Calibration by a reference model is from Watson et al. (2022);
    here the reference is the suspect's own origin.
    """

    visual: ClassVar[bool] = False

    def __call__(self: Statistic, case: Case) -> list[Answer]:
        """Ask the suspect and the base on the same draws."""
        of = [
            self.statistic(model, case.pair.schedule, case.z, case.generators(self.name))
            for model in (case.pair.suspect, case.pair.base)
        ]
        return [
            Answer("suspect", self.evaluations // 2, of[0]),
            Answer("contrast", self.evaluations, of[0] - of[1]),
        ]


def row_of(schedule: Schedule, step: int) -> int:
    """The row that lies as far along `schedule` as a paper's time step along 1000 rows."""
    return min(round(step * len(schedule) / PAPER_ROWS), len(schedule) - 1)


def predict_at(model: EpsModel, x: Float[Tensor, "b c h w"], row: int) -> Float[Tensor, "b c h w"]:
    """The predicted noise, all samples at the same row."""
    return model.predict_eps(x, rows_like(x, row))


def rows_like(x: Float[Tensor, "b c h w"], row: int) -> Tensor:
    """The same row for every sample of a batch."""
    return torch.full((len(x),), row, device=x.device)
