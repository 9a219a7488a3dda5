"""Ideas for a recovery that is a better witness: variations of Alg. 1, one option each, measured side by side.

What earns its place moves to `cgidm.recovery`; this file goes when that is decided.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cgidm.config import STEP_TO_RADIUS
from cgidm.models import EpsModel, ModelPair
from cgidm.objective import denoising_loss
from cgidm.partial import Partial, PartialKind, make_partial
from cgidm.recovery import clip_l2, l2_norms, unit_l2
from cgidm.sampling import sample_noise
from cgidm.scores import removed_alignment, removed_cosine
from eval.methods.base import Answer, Case
from eval.methods.recovery import curve_steps

GOLDEN = 0.6180339887498949  # fractions of its multiples spread evenly, however many there are


@dataclass(frozen=True)
class Idea:
    """One variation; the defaults are the preset `fast`, but for its number of steps and draws."""

    visual: ClassVar[bool] = False
    name: str = "idea"
    steps: int = 20
    draws: int = 1
    t_min: int = 250
    t_max: int = 750
    times: Literal["uniform", "stratified", "spread"] = "stratified"  # spread: stratified over steps too
    antithetic: bool = False  # every other draw has the negative of its neighbour's noise
    gradient: Literal["full", "no_jacobian"] = "full"  # no_jacobian: eps_base - eps_finetuned, forward passes only
    weight: Literal["eps", "x0", "unit"] = "eps"  # of a draw: loss in eps or x_0, or its direction alone
    direction: Literal["step", "mean", "momentum"] = "step"  # of this step, of all so far, decaying by 0.9
    decay: bool = False  # steps shrink to nothing, as a cosine
    stride: float = 1.0  # step length, in the preset's
    still: bool = False  # gradients are taken at the start, nothing moves meanwhile
    iterate: Literal["last", "average"] = "last"  # average: of the steps of the second half
    start: Literal["reencoded", "interpolated", "zero"] = "reencoded"
    partial: PartialKind = "block4"

    @property
    def evaluations(self) -> int:
        return 2 * self.steps * self.draws

    def __call__(self, case: Case) -> list[Answer]:
        z, partial = case.z, self._start(case)
        generators = case.generators("recovery")
        removed = 1 - partial.mask
        radius = l2_norms(z - partial.start)
        offsets = torch.stack([torch.rand((), generator=g, dtype=torch.float64) for g in generators])
        delta, memory, tail = torch.zeros_like(z), torch.zeros_like(z), []
        answers, wanted = [], set(curve_steps(self.steps))
        for index in range(self.steps):
            t = self._times(generators, offsets, index).to(z.device)
            eps = sample_noise(generators, (self.draws + 1) // 2 if self.antithetic else self.draws, z)
            if self.antithetic:
                eps = torch.stack([eps, -eps], 2).flatten(1, 2)[:, : self.draws]
            here = partial.start if self.still else partial.start + removed * delta
            gradient = removed * self._gradient(case.pair, here, t, eps)
            match self.direction:
                case "step":
                    memory = gradient
                case "mean":
                    memory = memory + gradient
                case "momentum":
                    memory = 0.9 * memory + gradient
            length = radius * STEP_TO_RADIUS * self.stride
            if self.decay:
                length = length * (1 + torch.cos(torch.tensor(torch.pi * index / self.steps)))
            delta = radius * unit_l2(memory) if self.still else clip_l2(delta + length * unit_l2(memory), radius)
            z_hat = partial.start + removed * delta
            if self.iterate == "average":
                tail = [*tail, z_hat][-max(1, (index + 1) // 2) :]
                z_hat = torch.stack(tail).mean(0)
            if index + 1 in wanted:
                spent = 2 * self.draws * (index + 1)
                answers.append(Answer("removed_alignment", spent, removed_alignment(z_hat, z, partial)))
                answers.append(Answer("removed_cosine", spent, removed_cosine(z_hat, z, partial)))
        return answers

    def _times(self, generators: list[torch.Generator], offsets: Tensor, index: int) -> Int[Tensor, "b n"]:
        width = self.t_max + 1 - self.t_min
        if self.times == "spread":
            which = index * self.draws + torch.arange(self.draws)
            shares = (offsets[:, None] + GOLDEN * which) % 1
        else:
            places = torch.stack([torch.rand(self.draws, generator=g, dtype=torch.float64) for g in generators])
            shares = places if self.times == "uniform" else (torch.arange(self.draws) + places) / self.draws
        return (self.t_min + (shares * width).floor().long()).clamp(max=self.t_max)

    def _start(self, case: Case) -> Partial:
        partial = make_partial(self.partial, case.pair.codec, case.images, case.z)
        if self.start == "reencoded":
            return partial
        mask, z = partial.mask, case.z
        if self.start == "zero":
            return Partial(mask, mask * z)
        kernel = torch.ones(z.shape[1], 1, 5, 5)
        sums = F.conv2d(mask * z, kernel, padding=2, groups=z.shape[1])
        counts = F.conv2d(mask.expand_as(z), kernel, padding=2, groups=z.shape[1]).clamp(min=1)
        return Partial(mask, mask * z + (1 - mask) * sums / counts)

    def _gradient(
        self, pair: ModelPair, z: Float[Tensor, "b c h w"], t: Int[Tensor, "b n"], eps: Float[Tensor, "b n c h w"]
    ) -> Float[Tensor, "b c h w"]:
        b, n = t.shape
        rows, t, eps = z.repeat_interleave(n, dim=0), t.flatten(), eps.flatten(0, 1)
        gradients = torch.cat(list(self._row_gradients(pair, rows, t, eps)))
        if self.weight == "x0":
            ratio = (pair.schedule.sigma / pair.schedule.alpha)[t, None, None, None].to(gradients)
            gradients = gradients * ratio.square() / 1
        elif self.weight == "unit":
            gradients = unit_l2(gradients)
        return gradients.unflatten(0, (b, n)).mean(1)

    def _row_gradients(self, pair: ModelPair, rows: Tensor, t: Tensor, eps: Tensor) -> Iterator[Tensor]:
        for part in torch.arange(len(rows)).split(16):
            if self.gradient == "no_jacobian":
                with torch.no_grad():
                    z_t = pair.schedule.add_noise(rows[part], eps[part], t[part])
                    yield pair.base.predict_eps(z_t, t[part]) - pair.finetuned.predict_eps(z_t, t[part])
            else:
                args = (rows[part], t[part], eps[part])
                yield _slope(pair.base, pair, *args) - _slope(pair.finetuned, pair, *args)


def _slope(model: EpsModel, pair: ModelPair, z: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(denoising_loss(model, pair.schedule, z, t, eps).sum(), z)[0]
