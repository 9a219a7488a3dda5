"""PFAMI: is the picture a peak of the model's likelihood among its neighbours?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.objective import denoising_loss
from cgidm.method.sampling import sample_noise
from cgidm.method.schedule import Schedule
from eval.benchmark.methods.base import MembershipTest, row_of, rows_like


@dataclass(frozen=True)
class PFAMI(MembershipTest):
    """PFAMI_Met, the statistical version of Fu et al. (2023): by how much does the loss rise at the neighbours?

    Neighbours are central crops of 95 % to 70 % of the side, scaled back to the full size. The loss of each is a mean
    over ten time steps, and the score is the mean rise over the neighbours, as a share of the picture's own loss.
    Steps, crops and the share are those of the authors' public code (configuration for diffusion models).

    What differs:
    - The latent is cropped, not the picture before encoding: a method sees latents only. Bilinear scaling smooths a
      latent, and a smoother latent can be easier whatever the model has learnt, so this form is weaker evidence.
    - A picture and its neighbours share their noise, one for each time step, where the code draws anew: less variance.
    - The share is taken of the mean losses, not step by step: a step at which the picture's loss is almost zero would
      outweigh all others.
    - All ten neighbours count, where the statistical branch of the code keeps one.
    - That code subtracts the same number of a reference model by default. This is the contrast.
    """

    name: str = "pfami"
    steps: tuple[int, ...] = (0, 50, 100, 150, 200, 250, 300, 350, 400, 450)
    neighbours: int = 10
    largest: float = 0.95  # share of the side that a crop keeps
    smallest: float = 0.70

    @property
    def evaluations(self) -> int:
        return 2 * len(self.steps) * (1 + self.neighbours)

    @torch.no_grad()
    def statistic(
        self,
        model: EpsModel,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, " b"]:
        noises = sample_noise(generators, len(self.steps), z)
        shares = torch.linspace(self.largest, self.smallest, self.neighbours, dtype=torch.float64).tolist()
        own = self._mean_loss(model, schedule, z, noises)
        rises = [self._mean_loss(model, schedule, central_crop(z, share), noises) - own for share in shares]
        return torch.stack(rises).mean(0) / own

    def _mean_loss(
        self, model: EpsModel, schedule: Schedule, z: Float[Tensor, "b c h w"], noises: Float[Tensor, "b n c h w"]
    ) -> Float[Tensor, " b"]:
        rows = [rows_like(z, row_of(schedule, s)) for s in self.steps]
        losses = [denoising_loss(model, schedule, z, t, noises[:, i]) for i, t in enumerate(rows)]
        return torch.stack(losses).mean(0)


def central_crop(z: Float[Tensor, "b c h w"], share: float) -> Float[Tensor, "b c h w"]:
    """The middle of `z`, whole cells only, scaled back to its size."""
    height, width = z.shape[2:]
    rows, columns = max(1, int(share * height)), max(1, int(share * width))
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = z[:, :, top : top + rows, left : left + columns]
    return F.interpolate(middle, (height, width), mode="bilinear", align_corners=False)
