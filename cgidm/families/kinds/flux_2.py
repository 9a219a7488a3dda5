"""FLUX.2 (Black Forest Labs 2025): dev, distilled for guidance, with features of Mistral; klein, with those of Qwen3.

Its autoencoder normalises squares of 2 x 2 cells. Here the cells stay apart, so that a mirrored latent is that of the
mirrored picture, cell by cell.
"""

from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from torch import Tensor

from .flux import GUIDANCE
from .network import ConditionedNetwork
from .packing import PATCH, pack, unpack
from .parts import flow_schedule, latent_codec, picture_side, text_device

STEPS = 50  # of sampling, for which its authors chose the shift that is trained with: exp(2.02) at 1024 x 1024


def flux_2(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """FLUX.2: tokens of 2 x 2 cells, which know their place by four indices."""
    config, device = pipeline.transformer.config, text_device(pipeline)
    text, text_ids = pipeline.encode_prompt(prompt, device=device)
    guidance = (torch.full((1,), GUIDANCE, device=device),) if config.guidance_embeds else ()
    steps = pipeline.scheduler.config.num_train_timesteps

    def forward(transformer: Any, x: Tensor, t: Tensor, text: Tensor, guidance: Tensor | None = None) -> Tensor:
        tokens = pack(x)
        places = x.new_empty(1, 1, x.shape[-2] // PATCH, x.shape[-1] // PATCH)
        answer = transformer(
            tokens,
            timestep=t / steps,
            guidance=guidance,
            encoder_hidden_states=text,
            txt_ids=text_ids[0].to(x.device),
            img_ids=pipeline._prepare_latent_ids(places)[0].to(x.device),
        ).sample
        return unpack(answer, x)

    side, downscale = picture_side(pipeline), pipeline.vae_scale_factor
    tokens = (side // downscale // PATCH) ** 2
    return ConditionedNetwork(
        network=pipeline.transformer,
        forward=forward,
        schedule=flow_schedule(pipeline, tokens, exponent=compute_empirical_mu(tokens, STEPS)),
        prediction="flow",
        codec=latent_codec(pipeline),
        resolution=side,
        channels=config.in_channels // PATCH**2,
        downscale=downscale,
        conditions=(text, *guidance),
        guidance_at=1 if guidance else None,
    )
