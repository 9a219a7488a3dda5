"""Stable Diffusion 1.x and 2.x, and AltDiffusion: a UNet on the features of one text encoder."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .network import ConditionedNetwork
from .parts import ddpm_schedule, latent_codec, square_side, text_device


def stable_diffusion(pipeline: Any, prompt: str | list[str]) -> ConditionedNetwork:
    """SD 1.x (eps), SD 2.x (eps or v, as the scheduler's configuration says) and AltDiffusion.

    A list has a prompt for each row of a batch, as trainings have it.
    """
    text, _ = pipeline.encode_prompt(prompt, text_device(pipeline), 1, False)

    def forward(unet: Any, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return unet(x, t, encoder_hidden_states=text).sample

    return unet_model(pipeline, forward, (text,))


def unet_model(
    pipeline: Any, forward: Callable[..., Tensor], conditions: tuple[Tensor, ...], sizes_at: int | None = None
) -> ConditionedNetwork:
    """The pipeline's UNet on the latents of its autoencoder."""
    schedule, prediction = ddpm_schedule(pipeline)
    return ConditionedNetwork(
        network=pipeline.unet,
        forward=forward,
        schedule=schedule,
        prediction=prediction,
        codec=latent_codec(pipeline),
        resolution=square_side(pipeline.unet.config.sample_size, pipeline.vae_scale_factor),
        channels=pipeline.unet.config.in_channels,
        downscale=pipeline.vae_scale_factor,
        conditions=conditions,
        sizes_at=sizes_at,
    )
