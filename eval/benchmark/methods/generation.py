"""The paper's baselines: generate many pictures with the suspect, and see whether one is the picture (Sec. 4.2).

All that is asked is the suspect; the base is not. The paper names no sampler: here it is DDIM as Stable Diffusion's
own configuration has it, and its guidance is diffusers' default.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cgidm.errors import UserError
from cgidm.method.partial import block_mask, right_half_mask
from cgidm.method.sampling import sample_noise
from cgidm.method.schedule import Schedule
from eval.benchmark.methods.base import Answer, Case, predict_at, rows_like

BATCH = 64  # samples in one call of the network
DECODED = 8  # latents in one call of the decoder, whose activations at 512 px are far larger than the network's

Predict = Callable[[Tensor, int], Tensor]  # (x_t, row) -> predicted noise


@dataclass(frozen=True)
class Pipeline:
    """What the three share. A picture's score is its highest similarity with any picture generated for it.

    "latent_cosine" compares all cells of the latents, "removed_cosine" those that a partial representation removes
    (see `_kept`). Each embedder at hand compares the decoded pictures, under its name, as the paper does.
    """

    visual: ClassVar[bool] = True

    name: str = ""
    images: int = 100  # generated for each picture
    inference_steps: int = 50
    guidance: float = 7.5  # 1: off, and the blank prompt is not asked

    @property
    def evaluations(self) -> int:
        return self.images * self._steps * (1 if self.guidance == 1 else 2)

    @property
    def _steps(self) -> int:
        """Steps that are really run."""
        return self.inference_steps

    def _kept(self, height: int, width: int) -> Float[Tensor, "1 1 h w"]:
        """1 = kept. Here the block mask of CGI-DM's default: both are then measured on the same cells."""
        return block_mask(height, width, 4)

    def _generate(
        self,
        predict: Predict,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "b c h w"]:
        """One latent for each row of `z`."""
        raise NotImplementedError

    @torch.no_grad()
    def __call__(self, case: Case) -> list[Answer]:
        predict, best = self._predictor(case), {}
        truth = {name: embedder(case.images) for name, embedder in case.embedders.items()}
        for rows, generators in self._batches(case):
            made = self._generate(predict, case.pair.schedule, case.z[rows], generators)
            for measure, scores in self._similarities(case, rows, made, truth):
                so_far = best.setdefault(measure, scores.new_full((len(case.z),), -torch.inf))
                so_far.scatter_reduce_(0, rows.to(scores.device), scores, "amax")
        return [Answer(measure, self.evaluations, scores) for measure, scores in best.items()]

    def _predictor(self, case: Case) -> Predict:
        """eps_blank + guidance * (eps_prompt - eps_blank) (Ho & Salimans 2022, in diffusers' scale)."""
        prompted = case.pair.suspect
        if self.guidance == 1:
            return lambda x, row: predict_at(prompted, x, row)
        blank = case.blank().suspect

        def guided(x: Tensor, row: int) -> Tensor:
            without = predict_at(blank, x, row)
            return without + self.guidance * (predict_at(prompted, x, row) - without)

        return guided

    def _batches(self, case: Case) -> Iterator[tuple[Tensor, list[torch.Generator]]]:
        """Pictures x images, in batches: whose picture each sample is, and the sample's own generator.

        The k-th image of a picture is the same however many there are.
        """
        samples = (s for k in range(self.images) for s in enumerate(case.generators(f"{self.name}/{k}")))
        while batch := list(islice(samples, BATCH)):
            yield torch.tensor([i for i, _ in batch], device=case.z.device), [g for _, g in batch]

    def _similarities(
        self, case: Case, rows: Tensor, made: Float[Tensor, "n c h w"], truth: dict[str, Tensor]
    ) -> Iterator[tuple[str, Float[Tensor, " n"]]]:
        z = case.z[rows]
        removed = 1 - self._kept(*z.shape[-2:]).to(z)
        yield "latent_cosine", F.cosine_similarity(made.flatten(1), z.flatten(1))
        yield "removed_cosine", F.cosine_similarity((removed * made).flatten(1), (removed * z).flatten(1))
        if case.embedders:
            pictures = torch.cat([case.pair.codec.decode(part) for part in made.split(DECODED)])
            for name, embedder in case.embedders.items():
                yield name, (embedder(pictures) * truth[name][rows.to(truth[name].device)]).sum(1)


@dataclass(frozen=True)
class Text2Img(Pipeline):
    """From noise and the training prompt alone. Each picture gets images of its own, which know nothing of it."""

    name: str = "text2img"

    def _generate(
        self,
        predict: Predict,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "b c h w"]:
        noise = sample_noise(generators, 1, z)[:, 0]
        return ddim(predict, schedule, noise, leading_rows(schedule, self.inference_steps))


@dataclass(frozen=True)
class Img2Img(Pipeline):
    """From the picture, noised: SDEdit (Meng et al. 2022) in diffusers' form, the last `strength` of the steps.

    It starts from the whole picture, so a member's and a holdout's images both resemble theirs. diffusers draws the
    latent from the autoencoder's posterior; here it is the case's.
    """

    name: str = "img2img"
    strength: float = 0.7  # share of the steps

    def __post_init__(self) -> None:
        if not 1 <= self._steps <= self.inference_steps:
            raise UserError("benchmark.strength", given=self.strength, steps=self.inference_steps)

    @property
    def _steps(self) -> int:
        return int(self.inference_steps * self.strength)

    def _generate(
        self,
        predict: Predict,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "b c h w"]:
        rows = leading_rows(schedule, self.inference_steps)[-self._steps :]
        noise = sample_noise(generators, 1, z)[:, 0]
        return ddim(predict, schedule, schedule.add_noise(z, noise, rows_like(z, rows[0])), rows)


@dataclass(frozen=True)
class DDNM(Pipeline):
    """Inpaint the right half: DDNM of Wang et al. (ICLR 2023), without time travel, as their public code runs it.

    At every step the predicted clean picture gets the true kept half (their Eq. 13 for a mask; number from memory),
    and a share `eta` of the next step's noise is new: x = alpha (corrected x_0) + sigma (eta new + sqrt(1 - eta^2)
    eps). So `eta` is not that of DDIM. The last step goes to the clean picture, so the kept half comes out true.

    The mask lies on the latent, where it is not exact: each cell of a latent depends on pixels beyond the border, so
    the kept half knows a little of what was removed. DDNM itself was made for models of pixels.

    "removed_cosine" is of the right half. "latent_cosine" and the embedders see the true left half too.
    """

    name: str = "ddnm"
    eta: float = 0.85  # share of new noise, as in the public code

    def _kept(self, height: int, width: int) -> Float[Tensor, "1 1 h w"]:
        return right_half_mask(height, width)

    def _generate(
        self,
        predict: Predict,
        schedule: Schedule,
        z: Float[Tensor, "b c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "b c h w"]:
        kept = self._kept(*z.shape[-2:]).to(z)

        def correct(x_0: Tensor) -> Tensor:
            return kept * z + (1 - kept) * x_0

        def renew(eps: Tensor) -> Tensor:
            return self.eta * sample_noise(generators, 1, z)[:, 0] + math.sqrt(1 - self.eta**2) * eps

        noise = sample_noise(generators, 1, z)[:, 0]
        rows = leading_rows(schedule, self.inference_steps)
        return ddim(predict, schedule, noise, rows, correct=correct, renew=renew, clean=True)


def ddim(
    predict: Predict,
    schedule: Schedule,
    x: Float[Tensor, "b c h w"],
    rows: Sequence[int],
    *,
    correct: Callable[[Tensor], Tensor] = lambda x_0: x_0,
    renew: Callable[[Tensor], Tensor] = lambda eps: eps,
    clean: bool = False,
) -> Float[Tensor, "b c h w"]:
    """From `x` at `rows[0]` down to row 0: deterministic DDIM (Song et al. 2021, Eq. 12 with sigma = 0).

    x_0 = (x - sigma eps) / alpha, then alpha' x_0 + sigma' eps with the next row's. `correct` may change x_0, and
    `renew` the noise that stays in. With `clean` the last step returns x_0 itself, without the noise of row 0, at
    which Stable Diffusion's sampler ends.
    """
    alpha, sigma = schedule.alpha.to(x), schedule.sigma.to(x)
    for row, following in zip(rows, [*rows[1:], None if clean else 0], strict=True):
        eps = predict(x, row)
        x_0 = correct((x - sigma[row] * eps) / alpha[row])
        x = x_0 if following is None else alpha[following] * x_0 + sigma[following] * renew(eps)
    return x


def leading_rows(schedule: Schedule, steps: int) -> list[int]:
    """981, 961, ..., 1 for 50 steps of 1000 rows: diffusers' "leading" spacing with steps_offset = 1.

    This is what Stable Diffusion's own configuration says. The offset is left out where it would pass the last row.

    Raises:
        UserError: for more steps than the schedule has rows.
    """
    if not 1 <= steps <= len(schedule):
        raise UserError("benchmark.schedule_steps", given=steps, most=len(schedule))
    spacing = len(schedule) // steps
    last = (steps - 1) * spacing
    offset = min(1, len(schedule) - 1 - last)
    return list(range(last + offset, -1, -spacing))
