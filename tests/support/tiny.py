"""Pipelines of every family with tiny random networks, made in memory: no download."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
UNET = {
    "sample_size": 8,
    "block_out_channels": (4, 8),
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}


def tokenizer(longest=7):
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{c}</w>" for c in LETTERS)]
    return CLIPTokenizer(vocab={v: i for i, v in enumerate(vocabulary)}, merges=[], model_max_length=longest)


def text_encoder(names):
    config = CLIPTextConfig(
        vocab_size=len(names),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=names.model_max_length,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def vae():
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
        latent_channels=4,
    )


def stable_diffusion(prediction="epsilon", seed=0, width=4, longest=7):
    torch.manual_seed(seed)
    names = tokenizer(longest)
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(names),
        tokenizer=names,
        unet=UNet2DConditionModel(**(UNET | {"block_out_channels": (width, 2 * width)})),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def pixel_ddpm(out_channels=6):
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=out_channels,
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return DDPMPipeline(unet, DDPMScheduler())


def perturbed(module, by=0.05, seed=1):
    """Move every weight a little, in place: a stand-in for fine-tuning."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(by * torch.randn(p.shape, generator=g))
    return module
