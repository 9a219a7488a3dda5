"""Contrasting gradient inversion: recover what was removed (Alg. 1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .config import STEP_TO_RADIUS, RecoveryConfig
from .loss_pair import LossAndGrad, Samples, loss_pair
from .models import ModelPair
from .partial import Partial
from .sampling import sample_noise, sample_times, send


@dataclass(frozen=True, eq=False, kw_only=True)
class RecoveryStep:
    """The state of the recovery after one step.

    Attributes:
        index: the step's number, from 0.
        z: the recovered latents so far; kept cells are the true ones.
        delta: how far each removed cell has moved from the start; zero where kept.
        contrast: Eq. 7 per latent entry, before this step, mean over its draws.
        gradient_norm: L2 norm of the contrast's gradient, before it was scaled to a step.
        gradient_ratio: that norm over the norms of the two models' gradients. 0: the models are the same; 1: unrelated.
        evaluations: network evaluations spent on each picture so far.
    """

    index: int
    z: Float[Tensor, "b c h w"]
    delta: Float[Tensor, "b c h w"]
    contrast: Float[Tensor, " b"]
    gradient_norm: Float[Tensor, " b"]
    gradient_ratio: Float[Tensor, " b"]
    evaluations: int


def recover(
    pair: ModelPair,
    z: Float[Tensor, "b c h w"],
    partial: Partial,
    config: RecoveryConfig,
    *,
    generators: Sequence[torch.Generator],
    delta: Float[Tensor, "b c h w"] | None = None,
    first: int = 0,
) -> Iterator[RecoveryStep]:
    """Ascend the contrast from `partial.start` by projected gradient steps (Eq. 8, 9), yielding after each step.

    Only removed cells move. The kept cells hold their true values in every forward pass and in every result. Works
    under `torch.no_grad()`, not under `torch.inference_mode()`.

    A picture whose gradient ratio is below `config.min_gradient_ratio` does not move: unit-length steps would turn
    rounding noise into a walk to the edge of the ball.

    To continue a recovery, pass `delta`, `first` and the generators' states from its last step. The result is equal to
    the last bit.

    Args:
        pair: the two models.
        z: the pictures' true latents; or theirs, and then those of their mirror images.
        partial: the mask and the start.
        config: the settings of Algorithm 1.
        generators: one per picture, so that a picture's randomness does not depend on its batch. Its mirror image meets
            the same draws, mirrored.
        delta: that of the step before `first`; None: zero.
        first: index of the first step to take.
    """
    assert len(z) in (len(generators), 2 * len(generators)), "one generator per picture"
    own, mirrored = z[: len(generators)], len(z) > len(generators)
    pair = replace(pair, schedule=pair.schedule.to(z.device))
    last_row = len(pair.schedule) - 1
    t_max = last_row if config.t_max is None else min(config.t_max, last_row)
    removed = 1 - partial.mask
    radius = recovery_radius(z, partial, config)
    step_size = radius * STEP_TO_RADIUS if config.step_size is None else torch.full_like(radius, config.step_size)
    delta = torch.zeros_like(z) if delta is None else delta
    rows = pair.rows_per_call(config.rows_per_call)

    for index in range(first, config.steps):
        t = send(sample_times(generators, config.draws, config.t_min, t_max, config.t_sampling), z.device)
        t = torch.cat([t, t]) if mirrored else t
        eps = _with_mirrored(sample_noise(generators, config.draws, own), mirrored)
        eps_suspect = eps
        if config.noise == "independent":
            eps_suspect = _with_mirrored(sample_noise(generators, config.draws, own), mirrored)

        z_now = partial.start + removed * delta
        base, suspect = _mean_loss_pair(pair, z_now, t, eps, eps_suspect, rows)
        grad_base, grad_suspect = removed * base.gradient, removed * suspect.gradient
        gradient = grad_base - grad_suspect
        norm = l2_norms(gradient)
        ratio = norm / (l2_norms(grad_base) + l2_norms(grad_suspect)).clamp(min=1e-30)
        gradient = torch.where(ratio < config.min_gradient_ratio, torch.zeros_like(gradient), gradient)

        delta = clip_l2(delta + step_size * unit_l2(gradient), radius)
        yield RecoveryStep(
            index=index,
            z=partial.start + removed * delta,
            delta=delta,
            contrast=(base.loss - suspect.loss) / z[0].numel(),
            gradient_norm=norm.flatten(),
            gradient_ratio=ratio.flatten(),
            evaluations=2 * config.draws * (index + 1),
        )


def _with_mirrored(eps: Float[Tensor, "b n c h w"], mirrored: bool) -> Float[Tensor, "_ n c h w"]:
    return torch.cat([eps, eps.flip(-1)]) if mirrored else eps


def recovery_radius(z: Float[Tensor, "b c h w"], partial: Partial, config: RecoveryConfig) -> Float[Tensor, "b 1 1 1"]:
    """The radius of each picture's ball: `config.radius`, else its distance from start to truth (Sec. 4)."""
    if config.radius is None:
        return l2_norms(z - partial.start)
    return torch.full_like(l2_norms(z), config.radius)


def _mean_loss_pair(
    pair: ModelPair,
    z: Float[Tensor, "b c h w"],
    t: Int[Tensor, "b n"],
    eps: Float[Tensor, "b n c h w"],
    eps_suspect: Float[Tensor, "b n c h w"],
    rows_per_call: int,
) -> tuple[LossAndGrad, LossAndGrad]:
    """Loss and gradient of base and suspect, each the mean over a picture's draws."""
    draws = t.shape[1]
    samples = Samples(z.repeat_interleave(draws, dim=0), t.flatten(), eps.flatten(0, 1), eps_suspect.flatten(0, 1))
    base, suspect = (
        LossAndGrad(*(value.unflatten(0, t.shape).mean(1) for value in (each.loss, each.gradient)))
        for each in loss_pair(pair, samples, rows_per_call)
    )
    return base, suspect


def unit_l2(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Scale each sample to unit L2 norm; an all-zero sample stays zero."""
    return x / l2_norms(x).clamp(min=1e-30)


def clip_l2(x: Float[Tensor, "b c h w"], radius: Float[Tensor, "b 1 1 1"]) -> Float[Tensor, "b c h w"]:
    """Project each sample onto the L2 ball of its radius."""
    return x * (radius / l2_norms(x).clamp(min=1e-30)).clamp(max=1)


def l2_norms(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 1 1"]:
    """Compute the L2 norm of each sample."""
    return torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)
