"""Qwen-Image (Wu et al. 2025): two streams, features of a vision-language model, the autoencoder of a video model."""

from typing import Any

from torch import Tensor

from .network import ConditionedNetwork
from .packing import PATCH, pack, unpack
from .parts import flow_schedule, latent_codec, picture_side, text_device


def qwen_image(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """Qwen-Image: features of Qwen2.5-VL, of as many tokens as the prompt has; tokens of 2 x 2 cells."""
    text, _ = pipeline.encode_prompt(prompt, text_device(pipeline))
    steps = pipeline.scheduler.config.num_train_timesteps

    def forward(transformer: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = pack(x)
        answer = transformer(
            tokens,
            timestep=t / steps,
            encoder_hidden_states=text,
            encoder_hidden_states_mask=mask,
            img_shapes=[[(1, x.shape[-2] // PATCH, x.shape[-1] // PATCH)]] * len(x),
        ).sample
        return unpack(answer, x)

    side, downscale = picture_side(pipeline), pipeline.vae_scale_factor
    return ConditionedNetwork(
        network=pipeline.transformer,
        forward=forward,
        schedule=flow_schedule(pipeline, (side // downscale // PATCH) ** 2),
        prediction="flow",
        codec=latent_codec(pipeline),
        resolution=side,
        channels=pipeline.transformer.config.in_channels // PATCH**2,
        downscale=downscale,
        conditions=(text,),
    )
