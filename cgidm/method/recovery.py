"""Contrasting gradient inversion: recover what was removed (Alg. 1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .config import STEP_TO_RADIUS, RecoveryConfig
from .loss_pair import Samples, Term, both_terms
from .models import ModelPair
from .partial import Partial
from .sampling import sample_noise, sample_times, send


@dataclass(frozen=True, eq=False)
class RecoveryStep:
    """Where the recovery stands after one step."""

    index: int  # from 0
    z: Float[Tensor, "b c h w"]  # the recovered latent so far; kept cells are the true ones
    delta: Float[Tensor, "b c h w"]  # how far each removed cell has moved from the start; zero where kept
    contrast: Float[Tensor, " b"]  # Eq. 7 per latent entry, before this step, mean over its draws
    gradient_norm: Float[Tensor, " b"]  # l2 of the contrast's gradient, before it was scaled to a step
    gradient_ratio: Float[Tensor, " b"]  # the same over the norms of its two terms: 0 = one model, 1 = unrelated
    evaluations: int  # network evaluations spent on each picture so far


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
    """Ascend the contrast from `partial.start` by L2 projected gradient steps (Eq. 8, 9), yielding after each.

    To go on where a recovery stopped, give the `delta` of its last step, the index of the next one as `first`, and
    its generators as that step left them: the result is the same to the last bit.

    Only removed cells move; the true kept cells of `z` are in place at every forward pass and in every result.
    There is one generator per picture, so a picture's randomness does not depend on its batch. Works under
    `torch.no_grad()`, not under `torch.inference_mode()`.

    Where the gradient of the contrast is below `min_gradient_ratio` of its terms, nothing moves: unit-length steps
    would turn rounding noise into a walk to the edge of the ball.
    """
    assert len(generators) == len(z), "one generator per picture"
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
        eps = sample_noise(generators, config.draws, z)
        eps_suspect = eps if config.noise == "shared" else sample_noise(generators, config.draws, z)

        z_now = partial.start + removed * delta
        base, tuned = _both_terms(pair, z_now, t, eps, eps_suspect, rows)
        grad_base, grad_tuned = removed * base.gradient, removed * tuned.gradient
        gradient = grad_base - grad_tuned
        norm = l2_norms(gradient)
        ratio = norm / (l2_norms(grad_base) + l2_norms(grad_tuned)).clamp(min=1e-30)
        gradient = torch.where(ratio < config.min_gradient_ratio, torch.zeros_like(gradient), gradient)

        delta = clip_l2(delta + step_size * unit_l2(gradient), radius)
        yield RecoveryStep(
            index,
            partial.start + removed * delta,
            delta,
            (base.loss - tuned.loss) / z[0].numel(),
            norm.flatten(),
            ratio.flatten(),
            2 * config.draws * (index + 1),
        )


def recovery_radius(z: Float[Tensor, "b c h w"], partial: Partial, config: RecoveryConfig) -> Float[Tensor, "b 1 1 1"]:
    """How far each picture may move: the given radius, else its own distance from start to truth (Sec. 4)."""
    if config.radius is None:
        return l2_norms(z - partial.start)
    return torch.full_like(l2_norms(z), config.radius)


def _both_terms(
    pair: ModelPair,
    z: Float[Tensor, "b c h w"],
    t: Int[Tensor, "b n"],
    eps: Float[Tensor, "b n c h w"],
    eps_suspect: Float[Tensor, "b n c h w"],
    rows_per_call: int,
) -> tuple[Term, Term]:
    """Loss and gradient of the base, and of the suspect, of each picture: the mean over its draws."""
    draws = t.shape[1]
    samples = Samples(z.repeat_interleave(draws, dim=0), t.flatten(), eps.flatten(0, 1), eps_suspect.flatten(0, 1))
    base, tuned = (
        Term(*(value.unflatten(0, t.shape).mean(1) for value in (term.loss, term.gradient)))
        for term in both_terms(pair, samples, rows_per_call)
    )
    return base, tuned


def unit_l2(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Each sample scaled to unit L2 norm; an all-zero sample stays zero."""
    return x / l2_norms(x).clamp(min=1e-30)


def clip_l2(x: Float[Tensor, "b c h w"], radius: Float[Tensor, "b 1 1 1"]) -> Float[Tensor, "b c h w"]:
    """Each sample projected onto the L2 ball of its radius."""
    return x * (radius / l2_norms(x).clamp(min=1e-30)).clamp(max=1)


def l2_norms(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 1 1"]:
    """L2 norm of each sample."""
    return torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)
