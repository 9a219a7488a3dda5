"""Few-shot fine-tuning in the paper's three modes: DreamBooth with and without prior loss, and LoRA.

The options and defaults follow diffusers' DreamBooth and LoRA example scripts; the code is our own. Learning rates are
those of the paper's recipes for Stable Diffusion unless given: a small model wants larger ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor
from transformers.utils import logging as transformers_logging

from ..framing.frame import CentreSquare
from ..framing.table import framing_of_table
from ..pictures.images import read_picture
from .defences import Defence, defend

Mode = Literal["dreambooth-prior", "dreambooth", "lora"]
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "proj_in", "proj_out")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Settings of one fine-tuning. `steps` are optimiser steps of `batch` pictures."""

    mode: Mode = "dreambooth"
    prompt: str = "sks style"
    class_prompt: str = "art style"  # prior loss only
    steps: int = 300
    batch: int = 4
    learning_rate: float = 2e-6
    prior_weight: float = 1.0
    prior_pictures: int = 20
    rank: int = 16  # LoRA only; alpha equals the rank
    defence: Defence | None = None  # an augmentation of every training picture, Sec. 4.5
    framing: Mapping[str, Any] | None = None  # as `framing.table` writes it; None: centre squares
    seed: int = 0


def finetune(base: Path, pictures: Sequence[Path], out: Path, config: FinetuneConfig) -> None:
    """Fine-tune a pipeline and write the checkpoint that such a training publishes.

    Pictures are framed as the configuration says; a batch holds pictures of one size. Latents are computed once. With a
    defence, the pictures of every step are augmented and encoded anew; those of the prior loss never are. The caller's
    global generators are not changed.

    Args:
        base: folder of the base pipeline, in diffusers' layout.
        pictures: training pictures.
        out: folder of the checkpoint. "lora" writes `pytorch_lora_weights.safetensors`; the DreamBooth modes write
            `unet/` and `text_encoder/`.
        config: settings of the training.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)  # adapter weights are initialised from the global generator
        _save(_train(base, pictures, config), out, config)


def _train(base: Path, pictures: Sequence[Path], config: FinetuneConfig) -> Any:
    """The fine-tuned pipeline."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    generator = torch.Generator().manual_seed(config.seed)
    diffusers_logging.disable_progress_bar()  # the caller draws one bar for many trainings
    transformers_logging.disable_progress_bar()
    pipe: Any = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    pipe.to(accelerator.device)
    for part in (pipe.vae, pipe.unet, pipe.text_encoder):
        part.requires_grad_(False)
    resolution = pipe.unet.config.sample_size * pipe.vae_scale_factor
    framing = CentreSquare(resolution=resolution) if config.framing is None else framing_of_table(config.framing)
    images = [read_picture(p, framing).image.to(accelerator.device) for p in pictures]
    draw = _drawer(images, config.batch)
    latents = _latents(pipe, images, config)
    prior = _prior_latents(pipe, config) if config.mode == "dreambooth-prior" else None

    if config.mode == "lora":
        targets: list[str] = list(LORA_TARGETS)
        pipe.unet.add_adapter(LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=targets))
        trained = [pipe.unet]
    else:
        trained = [pipe.unet.requires_grad_(True), pipe.text_encoder.requires_grad_(True)]
    weights = [p for module in trained for p in module.parameters() if p.requires_grad]
    optimizer = accelerator.prepare(torch.optim.AdamW(weights, config.learning_rate, weight_decay=1e-2))
    for module in trained:
        module.train()
    for _ in range(config.steps):
        chosen = draw(generator)
        loss = _denoising_loss(pipe, latents(chosen), config.prompt, generator)
        if prior is not None:
            chosen = torch.randint(len(prior), (config.batch,), generator=generator)
            prior_loss = _denoising_loss(pipe, prior[chosen.to(prior.device)], config.class_prompt, generator)
            loss = loss + config.prior_weight * prior_loss
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    return pipe


def _drawer(images: Sequence[Tensor], batch: int) -> Callable[[torch.Generator], list[int]]:
    """Draw a batch of pictures of one size, each picture as often as any other."""
    sizes = [tuple(image.shape) for image in images]
    alike = {size: [i for i, other in enumerate(sizes) if other == size] for size in dict.fromkeys(sizes)}

    def draw(generator: torch.Generator) -> list[int]:
        group = next(iter(alike.values()))
        if len(alike) > 1:
            group = alike[sizes[int(torch.randint(len(images), (), generator=generator))]]
        return [group[i] for i in torch.randint(len(group), (batch,), generator=generator).tolist()]

    return draw


def _latents(pipe: Any, images: Sequence[Tensor], config: FinetuneConfig) -> Callable[[Sequence[int]], Tensor]:
    """Chosen pictures -> their latents, computed once, or augmented and encoded anew at every call."""
    if config.defence is None:
        z = [_encode(pipe, image[None])[0] for image in images]
        return lambda chosen: torch.stack([z[i] for i in chosen])
    defence = config.defence
    # not the training's own generator: it draws the same pictures, times and noises with and without a defence
    generator = torch.Generator().manual_seed(config.seed + 1)
    return lambda chosen: _encode(pipe, defend(torch.stack([images[i] for i in chosen]), defence, generator))


@torch.no_grad()
def _encode(pipe: Any, images: Tensor) -> Tensor:
    return pipe.vae.encode(2 * images - 1).latent_dist.mode() * pipe.vae.config.scaling_factor


def _prior_latents(pipe: Any, config: FinetuneConfig) -> Tensor:
    """Latents of pictures that the base itself makes of the class prompt (DreamBooth's prior preservation)."""
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(config.seed)
    prompts = [config.class_prompt] * config.prior_pictures
    return pipe(prompts, num_inference_steps=50, generator=generator, output_type="latent").images


def _denoising_loss(pipe: Any, z: Tensor, prompt: str, generator: torch.Generator) -> Tensor:
    batch = len(z)
    t = torch.randint(pipe.scheduler.config.num_train_timesteps, (batch,), generator=generator).to(z.device)
    eps = torch.randn(z.shape, generator=generator).to(z.device)
    text = pipe.encode_prompt(prompt, z.device, 1, False)[0].expand(batch, -1, -1)
    z_t = pipe.scheduler.add_noise(z, eps, t)
    target = eps if pipe.scheduler.config.prediction_type == "epsilon" else pipe.scheduler.get_velocity(z, eps, t)
    return F.mse_loss(pipe.unet(z_t, t, encoder_hidden_states=text).sample, target)


def _save(pipe: Any, out: Path, config: FinetuneConfig) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if config.mode == "lora":
        state: dict[str, Any] = {k: v.half() for k, v in get_peft_model_state_dict(pipe.unet).items()}
        StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=state)
        return
    pipe.unet.half().save_pretrained(out / "unet", max_shard_size="9MB")
    pipe.text_encoder.half().save_pretrained(out / "text_encoder", max_shard_size="9MB")
