"""T_mc_cal: the Monte-Carlo loss over the whole schedule, calibrated by how complex the picture is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.objective import denoising_loss
from cgidm.method.sampling import sample_noise, sample_times
from cgidm.method.schedule import Schedule
from eval.benchmark.methods.base import MembershipTest


@dataclass(frozen=True)
class CalibratedLoss(MembershipTest):
    """T_mc_cal of Rao and Moyer (2026, https://arxiv.org/abs/2603.13421), made for rectified flow.

    Minus the loss, a mean over `draws` samples of (t, eps) with t uniform, over the picture's spatial complexity C:

        - mean of || prediction - target ||^2 / C(z),    C(z) = mean of |z[i, j] - z[i', j']| over adjacent cells.

    The loss is that of the model's training: the velocity under rectified flow, else the noise. Squared units of the
    latent over units of the latent.

    Only the abstract could be read, and no code was found. What is ours: C, the mean absolute difference of cells that
    are neighbours in a row or a column (total variation), and that the loss is divided by it. t is stratified over the
    schedule: the same mean with less variance. The difference from the base's score divides the plain contrast by C.
    """

    name: str = "mc_cal"
    draws: int = 20

    @property
    def evaluations(self) -> int:
        return 2 * self.draws

    @torch.no_grad()
    def statistic(
        self,
        model: EpsModel,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, " b"]:
        t = sample_times(generators, self.draws, 1, len(schedule) - 1, "stratified").to(z.device)
        noises = sample_noise(generators, self.draws, z)
        losses = [denoising_loss(model, schedule, z, t[:, i], noises[:, i]) for i in range(self.draws)]
        return -torch.stack(losses).mean(0) / spatial_complexity(z)


def spatial_complexity(z: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Compute the mean absolute difference of adjacent cells, over rows and columns; not 0 for a flat picture."""
    differences = [z.diff(dim=axis).abs().flatten(1) for axis in (-1, -2)]
    return torch.cat(differences, dim=1).mean(1).clamp(min=torch.finfo(z.dtype).eps)
