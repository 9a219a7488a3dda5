"""Stable Diffusion 3 and 3.5: rectified flow on a transformer (Esser et al. 2024)."""

from typing import Any

from torch import Tensor

from .network import ConditionedNetwork
from .parts import flow_schedule, latent_codec, square_side, text_device


def stable_diffusion_3(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """SD 3: features of three text encoders, the last of which may be absent; pooled features of two."""
    text, _, pooled, _ = pipeline.encode_prompt(
        prompt, prompt, prompt, device=text_device(pipeline), do_classifier_free_guidance=False
    )

    def forward(transformer: Any, x: Tensor, t: Tensor, text: Tensor, pooled: Tensor) -> Tensor:
        return transformer(x, encoder_hidden_states=text, pooled_projections=pooled, timestep=t).sample

    config, downscale = pipeline.transformer.config, pipeline.vae_scale_factor
    side = square_side(config.sample_size, downscale)
    return ConditionedNetwork(
        network=pipeline.transformer,
        forward=forward,
        schedule=flow_schedule(pipeline, (side // downscale // config.patch_size) ** 2),
        prediction="flow",
        codec=latent_codec(pipeline),
        resolution=side,
        channels=config.in_channels,
        downscale=downscale,
        conditions=(text, pooled),
    )
