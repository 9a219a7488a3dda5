"""Few-shot fine-tuning: DreamBooth with and without prior loss, adapters, and embeddings, as trainers make them.

The options and defaults follow diffusers' DreamBooth and LoRA example scripts and kohya-ss's sd-scripts; the code is
our own. Learning rates are those of the paper's recipes for Stable Diffusion unless given: a small model wants larger
ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers.utils import logging as transformers_logging

from ..families.pipelines import load_pipeline
from ..intake.layout import open_checkpoint
from .adapter_layers import add_adapter, falling_rank, save_adapter
from .embedding import add_embedding, check_captions, keep_other_vectors, save_embedding
from .loss import denoising_loss
from .optimizers import make_optimizer, make_schedule
from .settings import TrainerSettings
from .training_pictures import load_training_pictures


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainerSettings):
    """Settings of one fine-tuning.

    Attributes:
        prompt: of every picture that has no caption.
        class_prompt: of the prior loss.
        steps: optimiser steps, of `batch` pictures each.
        captions: of each picture, in their order; empty: all have the prompt.
        seed: random seed.
    """

    prompt: str = "sks style"
    class_prompt: str = "art style"
    steps: int = 300
    batch: int = 4
    captions: tuple[str, ...] = ()
    seed: int = 0

    @property
    def training_prompt(self) -> str:
        """The prompt; where it is blank, the word that is taught."""
        return self.prompt or self.word or ""


def finetune(
    base: Path,
    pictures: Sequence[Path],
    out: Path,
    config: FinetuneConfig,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Fine-tune a pipeline and write the checkpoint that such a training publishes.

    Pictures are framed as the configuration says; a batch holds pictures of one size. Latents are computed once, unless
    pictures are cropped or augmented at every step; those of the prior loss never are. The caller's global generators
    are not changed.

    Args:
        base: folder of the base pipeline, in diffusers' layout.
        pictures: training pictures.
        out: folder of the checkpoint. "lora" writes `pytorch_lora_weights.safetensors`, "textual-inversion" writes
            `learned_embeds.safetensors`; the DreamBooth modes write `unet/` and `text_encoder/`.
        config: settings of the training.
        progress: called after each step.

    Raises:
        UserError: if a picture cannot be read, or the optimiser is not installed.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)  # adapter weights are initialised from the global generator
        _save(_train(base, pictures, config, progress), out, config)


def _train(base: Path, pictures: Sequence[Path], config: FinetuneConfig, progress: Callable[[], object]) -> Any:
    """The fine-tuned pipeline."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    generator = torch.Generator().manual_seed(config.seed)
    diffusers_logging.disable_progress_bar()  # the caller draws one bar for many trainings
    transformers_logging.disable_progress_bar()
    pipe: Any = load_pipeline(open_checkpoint(base, "base model"), "base", torch.float32)
    pipe.scheduler = DDPMScheduler.from_config(pipe.scheduler.config)  # samplers scale noise in ways of their own
    pipe.to(accelerator.device)
    for part in (pipe.vae, pipe.unet, pipe.text_encoder):
        part.requires_grad_(False)
    draw, latents = load_training_pictures(pipe, pictures, config, config.seed)
    prior = _prior_latents(pipe, config) if config.mode == "dreambooth-prior" else None

    if config.mode == "lora":
        trained = add_adapter(pipe, config)
    elif config.word is not None:
        check_captions(config.word, [*config.captions] or [config.training_prompt])
        add_embedding(pipe, config, config.training_prompt)
        trained = [pipe.text_encoder]
    else:
        trained = [pipe.unet.requires_grad_(True), pipe.text_encoder.requires_grad_(True)]
    parts = [[p for p in module.parameters() if p.requires_grad] for module in trained]
    weights = [p for part in parts for p in part]
    if config.mode == "lora" and config.text_encoder:
        optimizer = make_optimizer(parts[0], config, parts[1])
    else:  # DreamBooth has one rate
        optimizer = make_optimizer(weights, config)
    if config.mode == "textual-inversion":
        keep_other_vectors(optimizer, weights[0], pipe, config)
    optimizer = accelerator.prepare(optimizer)
    schedule = make_schedule(optimizer, config, config.steps)
    captions = _captioner(config)
    for module in trained:
        module.train()
    with falling_rank(pipe, config) as at_times:
        for _ in range(config.steps):
            chosen = draw(generator)
            loss = denoising_loss(pipe, latents(chosen), captions(chosen), generator, config, at_times)
            if prior is not None:
                chosen = torch.randint(len(prior), (config.batch,), generator=generator)
                kept = prior[chosen.to(prior.device)]
                prior_loss = denoising_loss(pipe, kept, config.class_prompt, generator, config, at_times)
                loss = loss + config.prior_weight * prior_loss
            optimizer.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            progress()
    return pipe


def _captioner(config: FinetuneConfig) -> Callable[[Sequence[int]], str | list[str]]:
    """Chosen pictures -> their captions, some of them dropped."""
    # not the training's own generator: it draws the same pictures, times and noises with and without dropout
    generator = torch.Generator().manual_seed(config.seed + 2)

    def captions(chosen: Sequence[int]) -> str | list[str]:
        if not config.captions and not config.caption_dropout:
            return config.training_prompt
        own = [config.captions[i] if config.captions else config.training_prompt for i in chosen]
        dropped = torch.rand(len(own), generator=generator) < config.caption_dropout
        return ["" if drop else caption for caption, drop in zip(own, dropped.tolist(), strict=True)]

    return captions


def _prior_latents(pipe: Any, config: FinetuneConfig) -> Tensor:
    """Latents of pictures that the base itself makes of the class prompt (DreamBooth's prior preservation)."""
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(config.seed)
    prompts = [config.class_prompt] * config.prior_pictures
    return pipe(prompts, num_inference_steps=50, generator=generator, output_type="latent").images


def _save(pipe: Any, out: Path, config: FinetuneConfig) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if config.mode == "lora":
        save_adapter(pipe, out, config)
        return
    if config.mode == "textual-inversion":
        save_embedding(pipe, out, config)
        return
    pipe.unet.half().save_pretrained(out / "unet", max_shard_size="9MB")
    pipe.text_encoder.half().save_pretrained(out / "text_encoder", max_shard_size="9MB")
