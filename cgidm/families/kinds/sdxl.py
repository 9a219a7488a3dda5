"""Stable Diffusion XL (Podell et al. 2023) and its descendants."""

from typing import Any

import torch
from torch import Tensor

from .network import ConditionedNetwork
from .parts import square_side, text_device
from .stable_diffusion import unet_model


def stable_diffusion_xl(pipeline: Any, prompt: str | list[str]) -> ConditionedNetwork:
    """SDXL: two text encoders; size and crop of the picture are conditions, too (a whole square, until it is told).

    A list has a prompt for each row of a batch, as trainings have it.
    """
    text, _, pooled, _ = pipeline.encode_prompt(prompt, device=text_device(pipeline), do_classifier_free_guidance=False)
    side = square_side(pipeline.unet.config.sample_size, pipeline.vae_scale_factor)
    ids = torch.tensor([[side, side, 0, 0, side, side]], device=text.device, dtype=text.dtype)

    def forward(unet: Any, x: Tensor, t: Tensor, text: Tensor, pooled: Tensor, ids: Tensor) -> Tensor:
        added = {"text_embeds": pooled, "time_ids": ids}
        return unet(x, t, encoder_hidden_states=text, added_cond_kwargs=added).sample

    if pipeline.vae.config.force_upcast:
        pipeline.vae.float()  # SDXL's own leaves the range of fp16; in bf16 it would round pictures to 8 bits
    return unet_model(pipeline, forward, (text, pooled, ids), sizes_at=2)
