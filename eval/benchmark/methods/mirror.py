"""The mirror test's score as a method: does the suspect know the picture better than its mirror image?"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from cgidm.judging.mirror_test import MIRROR_SEED
from cgidm.method.config import RunConfig
from cgidm.method.mirror import mirror_scores
from eval.benchmark.methods.base import Answer, Case


@dataclass(frozen=True)
class Mirror:
    """`cgidm.method.mirror.mirror_scores`, with the noise of a verdict: the same for every picture and run.

    It takes the difference of the contrasts of a picture and its mirror image, so base and suspect are both asked
    about both: "contrast" alone. It has no unit.
    """

    visual: ClassVar[bool] = False
    name: str = "mirror"
    draws: int = RunConfig().mirror_draws  # for each orientation, even

    @property
    def evaluations(self) -> int:
        return 4 * self.draws

    @torch.no_grad()
    def __call__(self, case: Case) -> list[Answer]:
        found = mirror_scores(case.pair, case.images, self.draws, MIRROR_SEED)
        return [Answer("contrast", self.evaluations, torch.tensor([score.value for score in found]))]
