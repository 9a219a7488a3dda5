"""Whole pipelines of rectified-flow transformers with tiny random networks, which can be saved and loaded."""

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

from tests.support import tiny, tiny_families

SIDE = 64  # pixels of the square that a tiny model is made for
LATENT = 4  # channels
SHIFT, SCALE = 0.1159, 0.3611


def vae(side=SIDE):
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
        latent_channels=LATENT,
        sample_size=side,
        scaling_factor=SCALE,
        shift_factor=SHIFT,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def t5_tokenizer(longest=16):
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in tiny.LETTERS)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=longest)


def t5(names, width=12):
    config = T5Config(
        vocab_size=len(names), d_model=width, d_kv=4, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config)


def flux(guidance=True, seed=0):
    """FLUX.1: dev with guidance and a shift that grows with the picture; schnell with neither."""
    torch.manual_seed(seed)
    clip, pieces = tiny.tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=4 * LATENT,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=8,
        guidance_embeds=guidance,
        axes_dims_rope=(2, 2, 4),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if guidance else 1.0, use_dynamic_shifting=guidance),
        vae=vae(),
        text_encoder=CLIPTextModel(tiny_families.clip_config(clip, 8)),
        tokenizer=clip,
        text_encoder_2=t5(pieces),
        tokenizer_2=pieces,
        transformer=transformer,
    )


def packed(pipeline, x):
    """Latents as the pipeline's own code packs them."""
    return pipeline._pack_latents(x, *x.shape)


# family -> (makes its pipeline, what its pipeline is given for a picture without guidance; "start" makes its latents)
FLOW = {
    "flux-dev": (flux, {"guidance_scale": 1.0, "start": packed}),
    "flux-schnell": (lambda: flux(guidance=False), {"max_sequence_length": 256, "start": packed}),
}
