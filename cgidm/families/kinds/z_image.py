"""Z-Image and Z-Image-Turbo (Tongyi-MAI 2025): one stream of picture and text tokens.

Time runs the other way: the network is told 1 - sigma, and its answer is the velocity from the noise to the picture.
Turbo is distilled for few steps. Trainers merge a training adapter into it first; it belongs to both models then.
"""

from typing import Any

import torch
from torch import Tensor

from .network import ConditionedNetwork
from .packing import PATCH, check_even
from .parts import flow_schedule, latent_codec, picture_side, text_device


def z_image(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """Z-Image: features of Qwen3, of as many tokens as the prompt has; the network cuts latents into tokens itself."""
    (text,), _ = pipeline.encode_prompt(prompt, text_device(pipeline), do_classifier_free_guidance=False)
    steps = pipeline.scheduler.config.num_train_timesteps

    def forward(transformer: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        check_even(x)
        texts = list(text) if mask is None else [row[kept] for row, kept in zip(text, mask, strict=True)]
        answer = transformer(list(x.unsqueeze(2)), ((steps - t) / steps).to(x.dtype), texts, return_dict=False)[0]
        return -torch.stack(answer).squeeze(2)

    side, downscale = picture_side(pipeline), pipeline.vae_scale_factor
    return ConditionedNetwork(
        network=pipeline.transformer,
        forward=forward,
        schedule=flow_schedule(pipeline, (side // downscale // PATCH) ** 2),
        prediction="flow",
        codec=latent_codec(pipeline),
        resolution=side,
        channels=pipeline.transformer.config.in_channels,
        downscale=downscale,
        conditions=(text[None],),
    )
