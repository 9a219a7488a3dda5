"""SimA: how much noise does the model see in the untouched picture?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.schedule import Schedule
from eval.benchmark.methods.base import MembershipTest, predict_at, row_of


@dataclass(frozen=True)
class SimA(MembershipTest):
    """Minus ||eps_model(x, t)||_p of the picture without noise, told that it stands at t (Rao et al. 2025).

    The predicted noise points away from a local mean of the training set, so it is short at a training picture. The
    picture is neither noised nor scaled by alpha_t. p = 4 is the authors' public code, which omits the p-th root (see
    `PIA`). That code tries t = 0, 10, .., 190 and reports the best on the pictures it reports; here one is fixed
    beforehand, the middle of that range. Nothing is drawn.
    """

    name: str = "sima"
    step: int = 100
    p: float = 4

    @property
    def evaluations(self) -> int:
        return 2 * 1

    @torch.no_grad()
    def statistic(
        self,
        model: EpsModel,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, " b"]:
        eps = predict_at(model, z, row_of(schedule, self.step))
        return -torch.linalg.vector_norm(eps.flatten(1), ord=self.p, dim=1)
