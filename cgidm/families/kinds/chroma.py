"""Chroma (Lodestone Rock 2025): FLUX.1 schnell without CLIP, its modulation computed by a small network."""

from typing import Any

import torch
from torch import Tensor

from .network import ConditionedNetwork
from .packing import PATCH, pack, unpack
from .parts import flow_schedule, latent_codec, picture_side, text_device

# diffusers multiplies the mask of query and key and adds the product to the logits: so padding is not attended to
KEPT, LEFT_OUT = 1.0, -1e4


def chroma(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """Chroma: features of T5, of the prompt's tokens and one of padding, as it was trained; tokens of 2 x 2 cells."""
    text, _, kept, *_ = pipeline.encode_prompt(prompt, device=text_device(pipeline), do_classifier_free_guidance=False)
    text, steps = text[:, kept[0].bool()], pipeline.scheduler.config.num_train_timesteps

    def forward(transformer: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens, (rows, columns) = pack(x), (side // PATCH for side in x.shape[-2:])
        if mask is not None:
            places = torch.cat([mask, mask.new_ones(len(x), tokens.shape[1])], dim=1)
            mask = torch.where(places, KEPT, LEFT_OUT).to(x.dtype)
        answer = transformer(
            tokens,
            timestep=t / steps,
            encoder_hidden_states=text,
            txt_ids=torch.zeros(text.shape[1], 3, device=x.device),
            img_ids=pipeline._prepare_latent_image_ids(1, rows, columns, x.device, torch.float32),
            attention_mask=mask,
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
