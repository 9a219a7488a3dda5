"""The denoising loss of a training step, with what trainers add to it."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import UserError
from ..settings import TrainerSettings
from .trainee import Trainee

U_SHAPE = 4.0  # steepness of the law of t that is high at both ends (arXiv 2405.20320, Eq. 12)
FLUX_SHIFT = 3.1582  # of FLUX.1's trainers: exp(1.15)


def denoising_loss(
    trainee: Trainee,
    z: Float[Tensor, "b c h w"],
    prompts: str | list[str],
    generator: torch.Generator,
    settings: TrainerSettings,
    at_times: Any = None,
    sizes: Int[Tensor, "b 6"] | None = None,
) -> Float[Tensor, ""]:
    """Compute the loss of latents: of the noise, of v, or of the velocity of rectified flow, as the network has it.

    Args:
        trainee: the pipeline in training.
        z: latents of one size.
        prompts: one for all, or one for each.
        generator: CPU generator of times and noise.
        settings: law of t, noise offset, weight.
        at_times: called with the times before the network is.
        sizes: what the network is told of each picture's frame, see `Trainee.condition`.

    Raises:
        UserError: if the settings state a weight that rectified flow does not have.
    """
    if trainee.is_flow and settings.min_snr is not None:
        raise UserError("training.min_snr_of_flow", given=settings.min_snr)
    if trainee.is_flow:
        t = draw_shares(len(z), generator, settings).to(z.device) * trainee.timesteps
    else:
        t = draw_times(len(z), trainee.timesteps, generator, settings).to(z.device)
    eps = torch.randn(z.shape, generator=generator)
    if settings.noise_offset:
        eps = eps + settings.noise_offset * torch.randn(*z.shape[:2], 1, 1, generator=generator)
    eps = eps.to(z.device)
    model = trainee.condition(prompts, sizes)
    is_eps = model.prediction == "eps"
    if trainee.is_flow:
        at = (t / trainee.timesteps)[:, None, None, None]
        z_t, target = (1 - at) * z + at * eps, eps - z
    else:
        z_t = trainee.noise.add_noise(z, eps, t)
        target = eps if is_eps else trainee.noise.get_velocity(z, eps, t)
    if at_times is not None:
        at_times(t)
    predicted = model.predict(z_t, t)
    if settings.min_snr is None:
        return F.mse_loss(predicted, target)
    kept = trainee.noise.alphas_cumprod.to(z.device)[t]
    snr = kept / (1 - kept)
    weight = snr.clamp(max=settings.min_snr) / (snr if is_eps else snr + 1)
    return (weight * (predicted - target).square().mean((1, 2, 3))).mean()


def draw_times(count: int, timesteps: int, generator: torch.Generator, settings: TrainerSettings) -> Int[Tensor, " b"]:
    """Draw rows of a schedule by the law of the settings."""
    if settings.times == "uniform":
        return torch.randint(timesteps, (count,), generator=generator)
    return (draw_shares(count, generator, settings) * timesteps).long().clamp(0, timesteps - 1)


def draw_shares(count: int, generator: torch.Generator, settings: TrainerSettings) -> Float[Tensor, " b"]:
    """Draw times in [0, 1], 1 being noise alone, by the law of the settings."""
    match settings.times:
        case "uniform":
            return torch.rand(count, generator=generator)
        case "sigmoid":
            return torch.randn(count, generator=generator).sigmoid()
        case "shift":
            share = torch.randn(count, generator=generator).sigmoid()
            return FLUX_SHIFT * share / (1 + (FLUX_SHIFT - 1) * share)
        case "u-shaped":  # the density is proportional to exp(a u) + exp(a (1 - u))
            rising = torch.log1p(torch.rand(count, generator=generator) * math.expm1(U_SHAPE)) / U_SHAPE
            return torch.where(torch.rand(count, generator=generator) < 0.5, rising, 1 - rising)
