"""CLiD: how much does the prompt help the model with this picture?"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.objective import denoising_loss
from cgidm.method.sampling import sample_noise
from eval.benchmark.methods.base import Answer, Case, row_of, rows_like


@dataclass(frozen=True)
class CLiD:
    """Conditional likelihood discrepancy of Zhai et al. (NeurIPS 2024, arXiv 2405.14800).

    D = E[ ||eps - eps_model(x_t, t, blank)||^2 - ||eps - eps_model(x_t, t, prompt)||^2 ]: a model overfits the link
    from prompt to picture more than the picture, so D is larger at a member. "suspect" is D of the suspect;
    "contrast" is the same less D of the base on the same draws.

    The steps are those of the authors' public code. What differs from it:
    - The blank prompt is the only reduction. The code averages D over four: the caption without its most important
      30 %, 50 % and 70 % of words, and the blank one. A training prompt of two words leaves nothing to cut.
    - It draws one noise at each step; here `draws`, so that D has about as many noises as `Loss`.
    - The threshold form of the paper mixes D with the conditional loss. Scales, weight and threshold are fitted on a
      shadow model whose members are known, and its vector form trains a classifier on one; nobody here has one.
    - It draws the latent from the autoencoder's posterior; here it is the case's.

    A model that takes no prompt scores 0 everywhere.
    """

    visual: ClassVar[bool] = False

    name: str = "clid"
    steps: tuple[int, ...] = (440, 450, 460)
    draws: int = 7  # noises at each step

    @property
    def evaluations(self) -> int:
        return 4 * len(self.steps) * self.draws

    @torch.no_grad()
    def __call__(self, case: Case) -> list[Answer]:
        noises = sample_noise(case.generators(self.name), len(self.steps) * self.draws, case.z)
        blank = case.blank()
        suspect, base = (
            self._mean_loss(case, without, noises) - self._mean_loss(case, prompted, noises)
            for prompted, without in ((case.pair.suspect, blank.suspect), (case.pair.base, blank.base))
        )
        return [
            Answer("suspect", self.evaluations // 2, suspect),
            Answer("contrast", self.evaluations, suspect - base),
        ]

    def _mean_loss(self, case: Case, model: EpsModel, noises: Float[Tensor, "b n c h w"]) -> Float[Tensor, " b"]:
        schedule = case.pair.schedule
        rows = [rows_like(case.z, row_of(schedule, s)) for s in self.steps for _ in range(self.draws)]
        losses = [denoising_loss(model, schedule, case.z, t, noises[:, i]) for i, t in enumerate(rows)]
        return torch.stack(losses).mean(0)
