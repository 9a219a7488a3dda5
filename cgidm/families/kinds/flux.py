"""FLUX.1 (Black Forest Labs 2024): dev, which is distilled for guidance, and schnell, which is distilled for few steps.

A network that is distilled for guidance takes its strength as an input. What it should be told is what the suspect's
training told it. kohya's scripts note it (`ss_guidance_scale`: 1.0 in the guide, 3.5 by default), as the script of
diffusers has it (3.5, https://github.com/huggingface/diffusers, `train_dreambooth_lora_flux.py`). ai-toolkit feeds 1.0,
or leaves the input out, and notes neither.
"""

from typing import Any

import torch
from torch import Tensor

from .network import ConditionedNetwork
from .packing import PATCH, pack, unpack
from .parts import flow_schedule, latent_codec, picture_side, text_device

GUIDANCE = 1.0  # the usual one of trainers
LONGEST, LONGEST_OF_SCHNELL = 512, 256  # tokens of T5 that they were trained with; small models take less


def flux(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """FLUX.1: features of T5, pooled features of CLIP; tokens of 2 x 2 cells, which know their place by an index."""
    config, device = pipeline.transformer.config, text_device(pipeline)
    own = getattr(pipeline.tokenizer_2, "model_max_length", LONGEST) if hasattr(pipeline, "tokenizer_2") else LONGEST
    longest = min(LONGEST if config.guidance_embeds else LONGEST_OF_SCHNELL, own)
    text, pooled, _ = pipeline.encode_prompt(prompt, prompt, device=device, max_sequence_length=longest)
    guidance = (torch.full((1,), GUIDANCE, device=device),) if config.guidance_embeds else ()
    steps = pipeline.scheduler.config.num_train_timesteps

    def forward(
        transformer: Any, x: Tensor, t: Tensor, text: Tensor, pooled: Tensor, guidance: Tensor | None = None
    ) -> Tensor:
        rows, columns = (side // PATCH for side in x.shape[-2:])
        answer = transformer(
            pack(x),
            timestep=t / steps,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=text,
            txt_ids=torch.zeros(text.shape[1], 3, device=x.device),
            img_ids=pipeline._prepare_latent_image_ids(1, rows, columns, x.device, torch.float32),
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
        channels=config.in_channels // PATCH**2,
        downscale=downscale,
        conditions=(text, pooled, *guidance),
        guidance_at=2 if guidance else None,
    )
