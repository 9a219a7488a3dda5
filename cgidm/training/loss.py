"""The denoising loss of a training step, with what trainers add to it."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .settings import TrainerSettings

U_SHAPE = 4.0  # steepness of the law of t that is high at both ends (arXiv 2405.20320, Eq. 12)


def denoising_loss(
    pipe: Any,
    z: Float[Tensor, "b c h w"],
    prompts: str | list[str],
    generator: torch.Generator,
    settings: TrainerSettings,
    at_times: Any = None,
) -> Float[Tensor, ""]:
    """Compute the loss of latents.

    Args:
        pipe: the pipeline in training.
        z: latents of one size.
        prompts: one for all, or one for each.
        generator: CPU generator of times and noise.
        settings: law of t, noise offset, weight.
        at_times: called with the times before the network is.
    """
    t = draw_times(len(z), pipe.scheduler.config.num_train_timesteps, generator, settings).to(z.device)
    eps = torch.randn(z.shape, generator=generator)
    if settings.noise_offset:
        eps = eps + settings.noise_offset * torch.randn(*z.shape[:2], 1, 1, generator=generator)
    eps = eps.to(z.device)
    text = pipe.encode_prompt(prompts, z.device, 1, False)[0].expand(len(z), -1, -1)
    z_t = pipe.scheduler.add_noise(z, eps, t)
    is_eps = pipe.scheduler.config.prediction_type == "epsilon"
    target = eps if is_eps else pipe.scheduler.get_velocity(z, eps, t)
    if at_times is not None:
        at_times(t)
    predicted = pipe.unet(z_t, t, encoder_hidden_states=text).sample
    if settings.min_snr is None:
        return F.mse_loss(predicted, target)
    kept = pipe.scheduler.alphas_cumprod.to(z.device)[t]
    snr = kept / (1 - kept)
    weight = snr.clamp(max=settings.min_snr) / (snr if is_eps else snr + 1)
    return (weight * (predicted - target).square().mean((1, 2, 3))).mean()


def draw_times(count: int, timesteps: int, generator: torch.Generator, settings: TrainerSettings) -> Int[Tensor, " b"]:
    """Draw times by the law of the settings."""
    if settings.times == "uniform":
        return torch.randint(timesteps, (count,), generator=generator)
    if settings.times == "sigmoid":
        share = torch.randn(count, generator=generator).sigmoid()
    else:  # the density is proportional to exp(a u) + exp(a (1 - u))
        rising = torch.log1p(torch.rand(count, generator=generator) * math.expm1(U_SHAPE)) / U_SHAPE
        share = torch.where(torch.rand(count, generator=generator) < 0.5, rising, 1 - rising)
    return (share * timesteps).long().clamp(0, timesteps - 1)
