"""PIA: noise the picture with the noise that the model sees in it, and look whether it sees the same again."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.schedule import Schedule
from eval.benchmark.methods.base import MembershipTest, predict_at, row_of, rows_like


@dataclass(frozen=True)
class PIA(MembershipTest):
    """Proximal initialisation attack of Kong et al. (ICLR 2024).

    eps_0 = eps_model(x, 0), then minus || eps_0 - eps_model(alpha_t x + sigma_t eps_0, t) ||_p, with p = 4 and t = 200
    as for the paper's DDPMs (t from memory; its Stable Diffusion runs may use a later one). Nothing is drawn.

    The authors' public code omits the p-th root. Alone that orders the pictures alike; in a contrast with the base it
    does not, and there the root, which the paper writes, keeps a few large errors from deciding.
    """

    name: str = "pia"
    step: int = 200
    p: float = 4

    @property
    def evaluations(self) -> int:
        return 2 * 2

    @torch.no_grad()
    def statistic(
        self,
        model: EpsModel,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, " b"]:
        row = row_of(schedule, self.step)
        first = predict_at(model, z, 0)
        again = predict_at(model, schedule.add_noise(z, first, rows_like(z, row)), row)
        return -torch.linalg.vector_norm((first - again).flatten(1), ord=self.p, dim=1)
