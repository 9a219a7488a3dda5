"""Few-shot fine-tuning: DreamBooth with and without prior loss, adapters, and embeddings, as trainers make them.

The options and defaults follow diffusers' DreamBooth and LoRA example scripts and kohya-ss's sd-scripts; the code is
our own. Learning rates are those of the paper's recipes for Stable Diffusion unless given: a small model wants larger
ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from ..errors import UserError
from ..families.load import silence_libraries
from .embedding import add_embedding, check_captions, keep_other_vectors, save_embedding
from .networks.adapter_layers import add_adapter, falling_rank, save_adapter
from .networks.loss import denoising_loss
from .networks.prior import make_prior
from .networks.trainee import Trainee, open_trainee
from .optimizers import make_optimizer, make_schedule
from .settings import TrainerSettings
from .trainable import EMBEDDED
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
            `learned_embeds.safetensors`; the DreamBooth modes write `unet/` or `transformer/`, and each text encoder
            that is trained with it.
        config: settings of the training.
        progress: called after each step.

    Raises:
        UserError: if a picture cannot be read, the base or the optimiser is not at hand, or the base's family is not
            trained so.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)  # adapter weights are initialised from the global generator
        _save(_train(base, pictures, config, progress), out, config)


def _train(base: Path, pictures: Sequence[Path], config: FinetuneConfig, progress: Callable[[], object]) -> Trainee:
    """The fine-tuned pipeline."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    generator = torch.Generator().manual_seed(config.seed)
    silence_libraries()  # the caller draws one bar for many trainings
    trainee = open_trainee(base, accelerator.device)
    draw, latents = load_training_pictures(trainee, pictures, config, config.seed)
    prior = None
    if config.mode == "dreambooth-prior":
        prior = make_prior(trainee, config.class_prompt, config.prior_pictures, config.seed)

    trained = _parts(trainee, config)
    parts = [[p for p in module.parameters() if p.requires_grad] for module in trained]
    weights = [p for part in parts for p in part]
    if config.mode == "lora" and config.text_encoder:
        text_weights = [p for part in parts[1:] for p in part]
        optimizer = make_optimizer(parts[0], config, text_weights)
    else:  # DreamBooth has one rate
        optimizer = make_optimizer(weights, config)
    if config.mode == "textual-inversion":
        keep_other_vectors(optimizer, weights[0], trainee.pipe, config)
    optimizer = accelerator.prepare(optimizer)
    schedule = make_schedule(optimizer, config, config.steps)
    captions = _captioner(config)
    for module in trained:
        module.train()
    with falling_rank(trainee, config) as at_times:
        for _ in range(config.steps):
            chosen = draw(generator)
            z, sizes = latents(chosen)
            loss = denoising_loss(trainee, z, captions(chosen), generator, config, at_times, sizes)
            if prior is not None:
                chosen = torch.randint(len(prior), (config.batch,), generator=generator)
                kept = prior[chosen.to(prior.device)]
                prior_loss = denoising_loss(trainee, kept, config.class_prompt, generator, config, at_times)
                loss = loss + config.prior_weight * prior_loss
            optimizer.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            progress()
    return trainee


def _parts(trainee: Trainee, config: FinetuneConfig) -> list[nn.Module]:
    """What is trained, the network first. Trainers of rectified flow leave the text encoders of a DreamBooth alone."""
    if config.mode == "lora":
        return add_adapter(trainee, config)
    if config.word is not None:
        if type(trainee.pipe).__name__ != EMBEDDED:
            raise UserError("training.embedding_family", given=type(trainee.pipe).__name__)
        check_captions(config.word, [*config.captions] or [config.training_prompt])
        add_embedding(trainee.pipe, config, config.training_prompt)
        return [trainee.pipe.text_encoder]
    encoders = [] if trainee.is_flow else trainee.encoders.values()
    return [module.requires_grad_(True) for module in (trainee.network, *encoders)]


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


def _save(trainee: Trainee, out: Path, config: FinetuneConfig) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if config.mode == "lora":
        save_adapter(trainee, out, config)
        return
    if config.mode == "textual-inversion":
        save_embedding(trainee.pipe, out, config)
        return
    parts = {trainee.name: trainee.network} | ({} if trainee.is_flow else trainee.encoders)
    for name, part in parts.items():
        part.half().save_pretrained(out / name, max_shard_size="9MB")
