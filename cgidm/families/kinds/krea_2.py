"""Krea 2 and its Turbo (Krea 2026): one stream, features of many layers of a vision-language model.

Turbo is distilled for few steps. Trainers merge a training adapter into it first; it belongs to both models then.
"""

from typing import Any

from torch import Tensor

from .network import ConditionedNetwork
from .packing import PATCH, pack, unpack
from .parts import flow_schedule, latent_codec, picture_side, text_device

DISTILLED_SHIFT = 1.15  # exponent, at every size


def krea_2(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """Krea 2: features of Qwen3-VL from several layers, padded and masked; tokens of 2 x 2 cells."""
    text, mask = pipeline.encode_prompt(prompt, text_device(pipeline))
    steps = pipeline.scheduler.config.num_train_timesteps

    def forward(transformer: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        tokens, (rows, columns) = pack(x), (side // PATCH for side in x.shape[-2:])
        answer = transformer(
            tokens,
            timestep=t / steps,
            encoder_hidden_states=text,
            encoder_attention_mask=mask,
            position_ids=pipeline.prepare_position_ids(text.shape[1], rows, columns, x.device),
        ).sample
        return unpack(answer, x)

    side, downscale = picture_side(pipeline), pipeline.vae_scale_factor
    shift = DISTILLED_SHIFT if pipeline.config.is_distilled else None
    return ConditionedNetwork(
        network=pipeline.transformer,
        forward=forward,
        schedule=flow_schedule(pipeline, (side // downscale // PATCH) ** 2, exponent=shift),
        prediction="flow",
        codec=latent_codec(pipeline),
        resolution=side,
        channels=pipeline.transformer.config.in_channels // PATCH**2,
        downscale=downscale,
        conditions=(text, mask),
    )
