"""Angles between two models' noise predictions: where the fine-tuning moved them, not how far."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.sampling import sample_noise
from eval.benchmark.methods.base import Answer, Case, predict_at, row_of, rows_like


@dataclass(frozen=True)
class Anisotropy:
    """Alignment at low noise, after Asthana and Belagiannis (ICLR 2026, https://arxiv.org/abs/2601.20642).

    Where the log-probability is anisotropic, at low noise, the length of a guidance vector says little, and its angle
    with the unconditional score does. "suspect" is that angle's cosine, with a minus,

        - mean over noises of cos(u, c - u),    u = eps_suspect(x_t, t, blank),  c = eps_suspect(x_t, t, prompt),

    -1 to 1. "contrast" puts the base in place of the unconditional model, both with the prompt:

        - mean over noises of cos(b, f - b),    b = eps_base(x_t, t),  f = eps_suspect(x_t, t).

    What differs from the authors' public code, https://github.com/rohanasthana/memorization-anisotropy:
    - It asks about a prompt, at pure noise that it declares to be at a late step. A picture is asked about here, so x_t
      is the picture at the row `step`, with drawn noise.
    - Hence the minus. At pure noise the two are aligned. At a noised member the base's answer is the noise and an
      error, f - b takes that error back, and the two point apart. An ideal denoiser shows it.
    - Cosines are of whole latents, as in the paper's text. The code takes one in each cell, over channels.
    - It adds the length at a noisy step, by weights that were set for each model on labelled prompts. Nobody here has
      any; the angle stands alone.

    A suspect that takes no prompt scores 0 as "suspect".
    """

    visual: ClassVar[bool] = False
    name: str = "anisotropy"
    step: int = 50
    draws: int = 8

    @property
    def evaluations(self) -> int:
        return 3 * self.draws

    @torch.no_grad()
    def __call__(self, case: Case) -> list[Answer]:
        noises, pair = sample_noise(case.generators(self.name), self.draws, case.z), case.pair
        own = [self._predict(case, model, noises) for model in (case.blank().suspect, pair.suspect, pair.base)]
        unconditional, suspect, base = own
        return [
            Answer("suspect", 2 * self.draws, -_cosine(unconditional, suspect - unconditional)),
            Answer("contrast", 2 * self.draws, -_cosine(base, suspect - base)),
        ]

    def _predict(self, case: Case, model: EpsModel, noises: Float[Tensor, "b n c h w"]) -> Float[Tensor, "b n c h w"]:
        schedule = case.pair.schedule
        row = row_of(schedule, self.step)
        t = rows_like(case.z, row)
        found = [predict_at(model, schedule.add_noise(case.z, eps, t), row) for eps in noises.unbind(1)]
        return torch.stack(found, 1)


@dataclass(frozen=True)
class AngleToNoise:
    """The cosine between the step from base to suspect and the step from base to the noise that was drawn.

        mean over (t, eps) of cos(f - b, eps - b),    b = eps_base(x_t, t),  f = eps_suspect(x_t, t),

    -1 to 1. Since ||eps - b||^2 - ||eps - f||^2 = 2 <f - b, eps - b> - ||f - b||^2, the loss contrast mixes this with
    the length of f - b, which says that the suspect moved at all, as for a style. The angle leaves the length out. The
    idea is that of `Anisotropy` with the noise as direction; it is ours. It needs the base, so there is no "suspect".
    Steps lie evenly over the rows and were not chosen by any result.
    """

    visual: ClassVar[bool] = False
    name: str = "angle_to_noise"
    steps: tuple[int, ...] = (100, 300, 500, 700)
    draws: int = 5  # noises at each step

    @property
    def evaluations(self) -> int:
        return 2 * len(self.steps) * self.draws

    @torch.no_grad()
    def __call__(self, case: Case) -> list[Answer]:
        schedule, z = case.pair.schedule, case.z
        noises = sample_noise(case.generators(self.name), len(self.steps) * self.draws, z)
        cosines = []
        for i, step in enumerate(s for s in self.steps for _ in range(self.draws)):
            row, eps = row_of(schedule, step), noises[:, i]
            x_t = schedule.add_noise(z, eps, rows_like(z, row))
            base, suspect = (predict_at(model, x_t, row) for model in (case.pair.base, case.pair.suspect))
            cosines.append(_cosine((suspect - base)[:, None], (eps - base)[:, None]))
        return [Answer("contrast", self.evaluations, torch.stack(cosines).mean(0))]


def _cosine(a: Float[Tensor, "b n c h w"], b: Float[Tensor, "b n c h w"]) -> Float[Tensor, " b"]:
    """The mean over n of the cosines of whole latents; 0 where one is zero."""
    return F.cosine_similarity(a.flatten(2), b.flatten(2), dim=2).mean(1)
