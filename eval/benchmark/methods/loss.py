"""The denoising loss as evidence, without a base and with one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.objective import denoising_loss
from cgidm.method.sampling import sample_noise
from cgidm.method.schedule import Schedule
from cgidm.method.scores import loss_contrast
from eval.benchmark.methods.base import Answer, Case, MembershipTest, row_of, rows_like


@dataclass(frozen=True)
class Loss(MembershipTest):
    """Minus the model's denoising loss at one fixed time step, a mean over `draws` noises.

    The loss threshold attack of Matsumoto et al. (2023, "Membership Inference Attacks against Diffusion Models") and
    Carlini et al. (2023, "Extracting Training Data from Diffusion Models"). t = 100 is the step of Carlini et al.,
    who also average over noises (from memory); their shadow models (LiRA) are left out, nobody here has them. The
    number of draws is ours: as many as `loss_contrast` gets.
    """

    name: str = "loss"
    step: int = 100
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
        t = rows_like(z, row_of(schedule, self.step))
        noises = sample_noise(generators, self.draws, z).unbind(1)
        return -torch.stack([denoising_loss(model, schedule, z, t, eps) for eps in noises]).mean(0)


@dataclass(frozen=True)
class LossContrast:
    """`cgidm.method.scores.loss_contrast`: the gap of the losses over the whole schedule, as a share of the base's.

    Differs from the contrast of `Loss` in both: that one looks at one time step and takes the plain difference.
    """

    visual: ClassVar[bool] = False
    name: str = "loss_contrast"
    draws: int = 20

    @property
    def evaluations(self) -> int:
        return 2 * self.draws

    def __call__(self, case: Case) -> list[Answer]:
        scores = loss_contrast(case.pair, case.z, self.draws, case.generators(self.name))
        return [Answer("contrast", self.evaluations, scores)]
