"""SecMI: does a deterministic step forward and back return to where it started?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.schedule import Schedule
from eval.benchmark.methods.base import MembershipTest, row_of
from eval.benchmark.methods.ddim import ddim_step, ddim_walk


@dataclass(frozen=True)
class SecMI(MembershipTest):
    """SecMI_stat of Duan et al. (ICML 2023), Eq. 9 to 12 (equation numbers from memory).

    The picture is noised by DDIM steps without any random noise, `interval` rows at a time, from row 0 to `step`,
    which gives x~. One more such step and one DDIM step back give x^. The score is minus the t-error ||x^ - x~||^2.

    `step` = 100 and `interval` = 10 are the paper's. The authors' public code stops one interval earlier, at row 90;
    this follows the text, and the 10 + 2 evaluations that Kong et al. (2024) count for it.

    Nothing is drawn. The error is one of discretisation alone: it is zero wherever the predicted clean picture stays
    put along the path, as at the members of an ideal denoiser.
    """

    name: str = "secmi"
    step: int = 100
    interval: int = 10

    @property
    def evaluations(self) -> int:
        return 2 * (len(self._steps) - 1 + 2)

    @property
    def _steps(self) -> range:
        return range(0, self.step + 1, self.interval)

    @torch.no_grad()
    def statistic(
        self,
        model: EpsModel,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, " b"]:
        rows = [row_of(schedule, s) for s in self._steps]
        # the clean picture stands for its own row 0, as in the paper
        x = ddim_walk(model, schedule, z, rows)
        beyond = row_of(schedule, self._steps[-1] + self.interval)
        back = ddim_step(model, schedule, ddim_step(model, schedule, x, rows[-1], beyond), beyond, rows[-1])
        return -(back - x).square().flatten(1).sum(1)
