"""What a training costs, said before it begins: steps, evaluations of the network, memory."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from ..families.memory import UNCOUNTABLE, count_peak, weight_bytes
from .networks.adapter_layers import add_adapter
from .settings import TrainerSettings
from .trained_model import ModelPlan

BACKWARD = 2  # evaluations that a backward pass takes as long as
MOMENTS = 2  # copies of the trained weights that AdamW and Prodigy keep; others keep fewer
PLACES = 77  # of a prompt
COUNTED = "StableDiffusionPipeline"  # of which the memory of a training is counted


def training_evaluations(models: Sequence[ModelPlan]) -> int:
    """Count what the trainings cost, in forward passes of the network for one picture."""
    return sum(m.config.steps * m.config.batch * (1 + BACKWARD) for m in models)


def scoring_evaluations(pictures: int, draws: int, mirror_draws: int) -> int:
    """Count what it costs to score pictures under one model and its base.

    Args:
        pictures: how many.
        draws: of the score that is compared with controls, under both.
        mirror_draws: of the mirror test, in both orientations. The base's losses are kept, and are not counted.
    """
    return 2 * (draws + mirror_draws) * pictures


def is_counted(config: Mapping[str, Any]) -> bool:
    """Whether the memory of a training on a base is counted, by the base's `model_index.json`."""
    return config.get("_class_name") == COUNTED


def training_bytes(base: Path, settings: TrainerSettings) -> int | None:
    """Count the memory of a training: weights, gradients, the optimiser's state, and the activations of one step.

    Nothing is computed, and no weight is read: the networks are made from their configurations.

    Args:
        base: folder of the base pipeline, in diffusers' layout.
        settings: of the training.

    Returns:
        Bytes; None where the work cannot be counted, or the base has other networks than Stable Diffusion 1.x and 2.x.
    """
    index = base / "model_index.json"
    if index.exists() and not is_counted(json.loads(index.read_text())):
        return None
    unet_config: Any = UNet2DConditionModel.load_config(base, subfolder="unet")
    vae_config: Any = AutoencoderKL.load_config(base, subfolder="vae")
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(unet_config)
        vae: Any = AutoencoderKL.from_config(vae_config)
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(base / "text_encoder"))
        encoders = {"text_encoder": text.requires_grad_(False)}
        parts: Any = SimpleNamespace(network=unet.requires_grad_(False), encoders=encoders)
        if settings.mode == "lora":
            add_adapter(parts, settings)
        elif settings.mode != "textual-inversion":  # whose vectors are few
            unet.requires_grad_(True)
            text.requires_grad_(True)
    of_unet, others = ([p for p in part.parameters() if p.requires_grad] for part in (unet, text))
    state = MOMENTS * _bytes([*of_unet, *others]) + _bytes(others)  # `step` counts the gradients of the UNet
    cells = unet.config.sample_size

    def step() -> None:
        rows = settings.batch
        x = torch.zeros(rows, unet.config.in_channels, cells, cells, device="meta")
        words = torch.zeros(rows, PLACES, unet.config.cross_attention_dim, device="meta", requires_grad=not of_unet)
        predicted = unet(x, torch.zeros(rows, device="meta"), encoder_hidden_states=words).sample
        torch.autograd.grad(predicted.square().sum(), of_unet or [words])

    try:
        return weight_bytes(unet, text, vae) + state + count_peak(step)
    except UNCOUNTABLE:
        return None


def _bytes(weights: Sequence[torch.Tensor]) -> int:
    return sum(w.numel() * w.element_size() for w in weights)
