"""The published architectures with random weights, built on the device: what speed depends on, and no download."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

FOLDER = Path(__file__).parent / "architectures"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Architecture:
    """The configurations of one published model, as its `config.json` files state them, as far as they matter."""

    title: str
    pipeline: str  # its class in diffusers
    scheduler: Mapping[str, Any]  # of the noise in training; which sampler it came with does not matter here
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoders: tuple[Mapping[str, Any], ...]


def read_architecture(name: str) -> Architecture:
    """One of `architectures/*.json`."""
    stated = json.loads((FOLDER / f"{name}.json").read_text())
    return Architecture(**stated | {"text_encoders": tuple(stated["text_encoders"])})


def architecture_names() -> tuple[str, ...]:
    """The architectures that can be built, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def build_pipeline(architecture: Architecture, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Any:
    """The whole pipeline, each weight drawn by its own module's rule on `device` in `dtype`; frozen.

    By these rules activations keep their size through the layers, so that nothing overflows in half precision.
    """
    with made_on(device, dtype, seed):
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(**architecture.unet),
            "vae": AutoencoderKL(**architecture.vae),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**architecture.text_encoders[0])),
        }
        if architecture.pipeline == "StableDiffusionXLPipeline":
            parts["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**architecture.text_encoders[1]))
    for part in parts.values():
        part.eval().requires_grad_(False)
    parts["scheduler"] = DDIMScheduler(**architecture.scheduler, steps_offset=1, clip_sample=False)
    length = architecture.text_encoders[0]["max_position_embeddings"]
    if architecture.pipeline == "StableDiffusionXLPipeline":
        return StableDiffusionXLPipeline(**parts, tokenizer=_tokenizer(length), tokenizer_2=_tokenizer(length))
    nothing: Any = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(**parts, tokenizer=_tokenizer(length), **nothing)


def build_unet(architecture: Architecture, device: torch.device, dtype: torch.dtype, seed: int) -> nn.Module:
    """Its denoising network alone, frozen."""
    with made_on(device, dtype, seed):
        return UNet2DConditionModel(**architecture.unet).eval().requires_grad_(False)


@contextmanager
def made_on(device: torch.device, dtype: torch.dtype, seed: int) -> Iterator[None]:
    """Inside, modules appear on `device` in `dtype` with the weights of `seed`; the global state is restored."""
    before = torch.get_default_dtype()
    devices = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.device(device):
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def _tokenizer(length: int) -> CLIPTokenizer:
    """Spells letter by letter: which token a word becomes does not matter, how many the encoder reads does."""
    vocabulary = ["<|startoftext|>", *LETTERS, *(f"{c}</w>" for c in LETTERS), "<|endoftext|>"]
    return CLIPTokenizer(vocab={v: i for i, v in enumerate(vocabulary)}, merges=[], model_max_length=length)
