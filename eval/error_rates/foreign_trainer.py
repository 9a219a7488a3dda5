"""Another trainer than the library's: what a stranger's script does otherwise, all at once.

Null models and suspects of one trainer share more than a recipe: the initialisation, the order of draws, the optimiser,
one prompt for all pictures. An error rate that holds among them need not hold for a suspect from elsewhere. This loop
shares no code with `cgidm.training.trainer`. It does what the scripts of kohya-ss offer
(https://github.com/kohya-ss/sd-scripts): a caption for each picture, and its dropout; a LoRA of the text encoder, too;
Min-SNR weights, noise offset; alpha below the rank; Lion with a warm-up and a cosine schedule.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

UNET_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
CONVOLUTIONS = ["conv1", "conv2", "proj_in", "proj_out"]  # as LyCORIS's LoCon changes them, too
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
THINGS = ("a house", "two people", "a tree", "an animal", "a field", "water", "a table", "the sky", "flowers", "a face")


@dataclass(frozen=True, kw_only=True)
class ForeignConfig:
    """Settings of one training."""

    trigger: str = "sks style"  # begins every caption
    steps_per_picture: int = 60
    batch: int = 2
    learning_rate: float = 3e-4
    convolutions: bool = False  # changed as well
    rank: int = 8
    alpha: int = 4
    warmup: float = 0.1  # share of the steps
    caption_dropout: float = 0.1
    noise_offset: float = 0.05
    min_snr: float = 5.0
    seed: int = 4711


def train_foreign(base: Path, pictures: Sequence[Path], out: Path, config: ForeignConfig) -> None:
    """Train a LoRA of network and text encoder and write it to the folder `out`."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        pipe: Any = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
        for part in (pipe.vae, pipe.unet, pipe.text_encoder):
            part.requires_grad_(False)
        how = {"r": config.rank, "lora_alpha": config.alpha, "init_lora_weights": "gaussian"}
        targets = UNET_TARGETS + (CONVOLUTIONS if config.convolutions else [])
        pipe.unet.add_adapter(LoraConfig(target_modules=targets, **how))
        pipe.text_encoder.add_adapter(LoraConfig(target_modules=TEXT_TARGETS, **how))
        _train(pipe, pictures, config)
    layers: list[Any] = [
        {k: v.half() for k, v in get_peft_model_state_dict(part).items()} for part in (pipe.unet, pipe.text_encoder)
    ]
    out.mkdir(parents=True, exist_ok=True)
    metadata = [p.peft_config["default"].to_dict() for p in (pipe.unet, pipe.text_encoder)]
    StableDiffusionPipeline.save_lora_weights(
        out,
        unet_lora_layers=layers[0],
        text_encoder_lora_layers=layers[1],
        unet_lora_adapter_metadata=metadata[0],
        text_encoder_lora_adapter_metadata=metadata[1],
    )


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023 (arXiv 2302.06675), Algorithm 2: the sign of an interpolated momentum."""

    def __init__(self, weights: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(weights, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            first, second = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                weight.sub_(group["lr"] * (first * momentum + (1 - first) * weight.grad).sign())
                momentum.lerp_(weight.grad, 1 - second)


def _train(pipe: Any, pictures: Sequence[Path], config: ForeignConfig) -> None:
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    images = torch.stack([_read(path, side) for path in pictures])
    weights = [p for part in (pipe.unet, pipe.text_encoder) for p in part.parameters() if p.requires_grad]
    optimizer = Lion(weights, config.learning_rate)
    steps = max(1, config.steps_per_picture * len(images) // config.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, config.warmup))
    rng, order = random.Random(config.seed), []
    for _ in range(steps):
        chosen = []
        for _ in range(config.batch):  # every picture once before any comes again
            order = order or rng.sample(range(len(images)), len(images))
            chosen.append(order.pop())
        z = _encode(pipe, images[chosen])
        captions = [_caption(i, config, rng) for i in chosen]
        optimizer.zero_grad()
        _loss(pipe, z, captions, config).backward()
        optimizer.step()
        schedule.step()


def _rate(step: int, steps: int, warmup: float) -> float:
    risen = warmup * steps
    if step < risen:
        return (step + 1) / (risen + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - risen) / max(1, steps - risen)))


def _read(path: Path, side: int) -> Tensor:
    """The centre square of a picture in [-1, 1]."""
    image = ImageOps.fit(Image.open(path).convert("RGB"), (side, side), Image.Resampling.BICUBIC)
    return pil_to_tensor(image).float() / 127.5 - 1


@torch.no_grad()
def _encode(pipe: Any, images: Tensor) -> Tensor:
    return pipe.vae.encode(images).latent_dist.sample() * pipe.vae.config.scaling_factor


def _caption(picture: int, config: ForeignConfig, rng: random.Random) -> str:
    if rng.random() < config.caption_dropout:
        return ""
    return f"{config.trigger}, {THINGS[picture % len(THINGS)]}"


def _loss(pipe: Any, z: Tensor, captions: Sequence[str], config: ForeignConfig) -> Tensor:
    alphas = pipe.scheduler.alphas_cumprod
    t = torch.randint(len(alphas), (len(z),))
    noise = torch.randn_like(z) + config.noise_offset * torch.randn(*z.shape[:2], 1, 1)
    kept = alphas[t].view(-1, 1, 1, 1)
    noised = kept.sqrt() * z + (1 - kept).sqrt() * noise
    tokens = pipe.tokenizer(
        list(captions), padding="max_length", truncation=True, max_length=pipe.tokenizer.model_max_length
    )
    text = pipe.text_encoder(torch.tensor(tokens["input_ids"]))[0]
    predicted = pipe.unet(noised, t, encoder_hidden_states=text).sample
    snr = alphas[t] / (1 - alphas[t])
    weight = snr.clamp(max=config.min_snr) / snr
    return (weight * (predicted - noise).square().mean((1, 2, 3))).mean()
