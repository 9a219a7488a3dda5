"""Quantile regression: is the loss lower than a picture like this one has when it was not used?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from sklearn.linear_model import QuantileRegressor
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.objective import denoising_loss
from cgidm.method.sampling import picture_generator, sample_noise
from eval.benchmark.methods.base import Answer, Case, row_of, rows_like
from eval.benchmark.methods.fcre import band_energy
from eval.benchmark.methods.mc_cal import spatial_complexity

BANDS = 4  # of the latent's frequencies


@dataclass(frozen=True)
class QuantileRegression:
    """Membership by quantile regression of Tang et al. (ICML 2024, https://arxiv.org/abs/2312.05140).

    Ask the model about pictures that it was not trained on, predict a quantile of their statistic from what a picture
    looks like, and score a picture by how far it lies beyond its own predicted quantile:

        s(x) - Q(s | features(x)),    s = - log mean over noises of ||eps - eps_model(x_t, t)||^2.

    "suspect" is of the suspect's s. "contrast" is of the suspect's s less the base's, on the same noises. A difference
    of logarithms, without a unit.

    The pictures of the fit are `Case.null_pictures`: works by others that no suspect has seen. No label, no shadow
    model and no other work of the artist enters. Their evaluations are shared by all pictures that are asked about, and
    are not counted: `draws` for each of them and each model, once for a suspect.

    What differs from the paper:
    - Its statistic is the t-error of SecMI; here the loss at one step, as `Loss` has it, in logarithms: a quantile of
      a ratio then holds for easy and difficult pictures.
    - It trains small convolutional networks on thousands of pictures, and lets a bag of them vote. Here a linear
      quantile regression on the logarithms of the latent's complexity and of the energies of its frequency bands.
      There are too few pictures for more.
    """

    visual: ClassVar[bool] = False
    asks_null_pictures: ClassVar[bool] = True
    name: str = "quantile"
    quantile: float = 0.95  # of s among unused pictures, 0 to 1
    step: int = 100
    draws: int = 4
    nulls: int = 80  # of the case's null pictures, evenly spaced; all if it has fewer

    @property
    def evaluations(self) -> int:
        return 2 * self.draws

    @torch.no_grad()
    def __call__(self, case: Case) -> list[Answer]:
        nulls = case.null_pictures()
        nulls = nulls[torch.linspace(0, len(nulls) - 1, min(self.nulls, len(nulls))).long()]
        drawn = [picture_generator(case.seed, f"null picture {i}", self.name) for i in range(len(nulls))]
        sets = [
            (z, sample_noise(generators, self.draws, z))  # once, so that both models meet the same
            for z, generators in ((case.z, case.generators(self.name)), (nulls, drawn))
        ]
        suspect, base = (
            [self._statistic(case, model, *given) for given in sets] for model in (case.pair.suspect, case.pair.base)
        )
        contrast = [f - b for f, b in zip(suspect, base, strict=True)]
        features = [picture_features(z) for z, _ in sets]
        return [
            Answer("suspect", self.evaluations // 2, self._beyond(suspect, features)),
            Answer("contrast", self.evaluations, self._beyond(contrast, features)),
        ]

    def _statistic(
        self, case: Case, model: EpsModel, z: Float[Tensor, "b c h w"], noises: Float[Tensor, "b n c h w"]
    ) -> Float[Tensor, " b"]:
        schedule, found = case.pair.schedule, []
        for first in range(0, len(z), rows := case.pair.rows_per_call()):
            some, eps = z[first : first + rows], noises[first : first + rows]
            t = rows_like(some, row_of(schedule, self.step))
            losses = [denoising_loss(model, schedule, some, t, eps[:, i]) for i in range(self.draws)]
            found.append(-torch.stack(losses).mean(0).log())
        return torch.cat(found)

    def _beyond(
        self, statistics: Sequence[Float[Tensor, " _"]], features: Sequence[Float[Tensor, "_ f"]]
    ) -> Float[Tensor, " b"]:
        """How far the first statistics lie beyond the quantile that is fitted on the second ones."""
        (own, nulls), (x, x_nulls) = ([t.cpu().double() for t in pair] for pair in (statistics, features))
        centre, scale = x_nulls.mean(0), x_nulls.std(0, correction=0).clamp(min=1e-9)
        rule = QuantileRegressor(quantile=self.quantile, alpha=0.0, solver="highs")
        rule.fit(((x_nulls - centre) / scale).numpy(), nulls.numpy())
        predicted = torch.from_numpy(rule.predict(((x - centre) / scale).numpy()))
        return (own - predicted).to(statistics[0])


def picture_features(z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
    """Describe latents by logarithms: spatial complexity, and the energies of `BANDS` rings of frequencies."""
    edges = torch.linspace(0, 1, BANDS + 1).tolist()
    rings = [band_energy(z, low, high) for low, high in pairwise(edges)]
    return torch.stack([spatial_complexity(z), *rings], dim=1).clamp(min=torch.finfo(z.dtype).tiny).log()
