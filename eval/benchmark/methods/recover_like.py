"""RECOVER-like: does the picture come back through the model, though the noise of its inversion was disturbed?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.sampling import sample_noise
from cgidm.method.schedule import Schedule
from eval.benchmark.methods.base import MembershipTest, row_of
from eval.benchmark.methods.ddim import ddim_walk


@dataclass(frozen=True)
class RecoverLike(MembershipTest):
    """Robustness of inversion, after the abstract of RECOVER (ICML 2026, https://icml.cc/virtual/2026/poster/65032).

    A model that was fine-tuned on a picture has learnt its denoising trajectory, so the picture is rebuilt stably
    although noise disturbs its inversion. Invert by deterministic DDIM from row 0 to `step`, which gives x~. The noise
    in it is e = (x~ - alpha z) / sigma. Disturb that noise, e' = sqrt(1 - s^2) e + s n with n ~ N(0, I) and the share
    s of `disturbance`, and walk back down from alpha z + sigma e' to z^. The score is

        - mean over n of || z^ - z ||^2,

    in squared units of the latent, summed over its c x h x w entries.

    Only the abstract could be read, and no code was found. What is ours: step, number of steps, how the noise is
    disturbed and by how much, number of draws, and the squared distance in the latent as the measure of stability.
    The disturbance keeps the length of the noise in expectation, so that the model meets the noise it was trained for.
    """

    name: str = "recover_like"
    step: int = 300
    interval: int = 75  # rows between two DDIM steps, on 1000 rows
    disturbance: float = 0.5  # share of the noise's length that is new
    draws: int = 4

    @property
    def evaluations(self) -> int:
        return 2 * (len(self._steps) - 1) * (1 + self.draws)

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
        alpha, sigma = schedule.alpha.to(z)[rows[-1]], schedule.sigma.to(z)[rows[-1]]
        inverted = ddim_walk(model, schedule, z, rows)
        noise = (inverted - alpha * z) / sigma
        errors = []
        for new in sample_noise(generators, self.draws, z).unbind(1):
            disturbed = (1 - self.disturbance**2) ** 0.5 * noise + self.disturbance * new
            back = ddim_walk(model, schedule, alpha * z + sigma * disturbed, rows[::-1])
            errors.append((back - z).square().flatten(1).sum(1))
        return -torch.stack(errors).mean(0)
