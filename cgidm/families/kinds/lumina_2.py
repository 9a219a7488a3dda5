"""Lumina-Image 2.0 (Qin et al. 2025): one stream of picture and text tokens, features of Gemma 2.

Time runs the other way: the network is told 1 - sigma, and its answer is the velocity from the noise to the picture.
"""

from typing import Any

from torch import Tensor

from .network import ConditionedNetwork
from .packing import PATCH, check_even
from .parts import flow_schedule, latent_codec, square_side, text_device


def lumina_2(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """Lumina 2: features of Gemma, of as many tokens as the prompt has, after its system prompt."""
    text, kept, *_ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, device=text_device(pipeline))
    text, steps = text[:, kept[0].bool()], pipeline.scheduler.config.num_train_timesteps

    def forward(transformer: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        check_even(x)
        places = text.new_ones(text.shape[:2]).int() if mask is None else mask.int()
        answer = transformer(x, 1 - t / steps, text, places, return_dict=False)[0]
        return -answer

    config, downscale = pipeline.transformer.config, pipeline.vae_scale_factor
    side = square_side(config.sample_size, downscale)
    return ConditionedNetwork(
        network=pipeline.transformer,
        forward=forward,
        schedule=flow_schedule(pipeline, (side // downscale // PATCH) ** 2),
        prediction="flow",
        codec=latent_codec(pipeline),
        resolution=side,
        channels=config.in_channels,
        downscale=downscale,
        conditions=(text,),
    )
