"""LoRAs of the embedded flow model, trained as today's trainers train those of FLUX.

Two laws of the time t are met: ai-toolkit's `sigmoid`, the sigmoid of a normal variable, and musubi-tuner's and
sd-scripts' `shift`, which shifts that towards noise, t -> s t / (1 + (s - 1) t), by 3.1582 for FLUX.1. The loss is that
of the velocity; every linear layer of the blocks gets an adapter, as both have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import FluxPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from cgidm.families.kinds.packing import PATCH, pack
from cgidm.pictures.images import read_picture

PROJECTIONS = ("to_[qkv]", "add_[qkv]_proj", r"to_out\.0", "to_add_out", "proj_mlp", "proj_out", r"net\.(0\.proj|2)")
BLOCK_LAYERS = rf"(single_)?transformer_blocks\..*\.({'|'.join(PROJECTIONS)})"
FLUX_SHIFT = 3.1582  # of FLUX.1: exp(1.15)
TimeLaw = Literal["sigmoid", "shift", "uniform"]


@dataclass(frozen=True, kw_only=True)
class FlowRecipe:
    """How a LoRA is trained.

    Attributes:
        times: the law of t.
        presentations: of each picture.
        batch: pictures of an optimiser step.
        rank: of the adapter; alpha is the rank.
        learning_rate: of AdamW, constant. A small network wants a larger one than FLUX does.
        prompt: of every picture.
        seed: random seed.
    """

    times: TimeLaw = "sigmoid"
    presentations: int = 120
    batch: int = 4
    rank: int = 16
    learning_rate: float = 1e-3
    prompt: str = "sks style"
    seed: int = 0


def train_flow_lora(
    base: Path,
    pictures: Sequence[Path],
    out: Path,
    recipe: FlowRecipe,
    captions: Sequence[str] = (),
    earlier: Mapping[int, Path] | None = None,
) -> None:
    """Train a LoRA of the transformer and write `pytorch_lora_weights.safetensors` to `out`, in half precision.

    Args:
        base: folder of the FluxPipeline.
        pictures: files; their centre squares are trained on.
        out: folder of the LoRA.
        recipe: how it is trained.
        captions: one for each picture; none: the recipe's prompt for all.
        earlier: folders of the same LoRA as it was after fewer presentations, by their number. The rate is constant,
            so that it is what a shorter training would have given, but for the draws.
    """
    pipe: Any = FluxPipeline.from_pretrained(base, torch_dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # adapter weights are initialised from the global generator
        layers = LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, target_modules=BLOCK_LAYERS)
        for part in (pipe.vae, pipe.text_encoder, pipe.text_encoder_2, pipe.transformer):
            part.requires_grad_(False)
        pipe.transformer.add_adapter(layers)
    z = encode_pictures(pipe, pictures)
    velocity = bind_prompt(pipe, *(captions or [recipe.prompt]))
    weights = [p for p in pipe.transformer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, recipe.learning_rate)
    generator = torch.Generator().manual_seed(recipe.seed)
    at_step = {-(-n * len(z) // recipe.batch): folder for n, folder in (earlier or {}).items()}
    for step, chosen in enumerate(_draws(len(z), recipe, generator), 1):
        eps = torch.randn(z[chosen].shape, generator=generator)
        t = draw_times(len(chosen), recipe.times, generator)
        at = t[:, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            predicted = velocity((1 - at) * z[chosen] + at * eps, t, chosen if captions else None)
        loss = F.mse_loss(predicted.float(), eps - z[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step in at_step:
            _save(pipe, at_step[step])
    _save(pipe, out)


def _save(pipe: Any, out: Path) -> None:
    state: dict[str, Any] = {name: value.half() for name, value in get_peft_model_state_dict(pipe.transformer).items()}
    FluxPipeline.save_lora_weights(out, transformer_lora_layers=state)


def draw_times(count: int, law: TimeLaw, generator: torch.Generator) -> Tensor:
    """Draw times in (0, 1), 1 being noise alone."""
    if law == "uniform":
        return torch.rand(count, generator=generator)
    t = torch.randn(count, generator=generator).sigmoid()
    return t if law == "sigmoid" else FLUX_SHIFT * t / (1 + (FLUX_SHIFT - 1) * t)


@torch.no_grad()
def encode_pictures(pipe: Any, pictures: Sequence[Path]) -> Tensor:
    """Packed latents of the centre squares."""
    images = torch.stack([read_picture(path, pipe.vae.config.sample_size).image for path in pictures])
    latents = pipe.vae.encode(2 * images - 1).latent_dist.mode()
    return pack((latents - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor)


def bind_prompt(pipe: Any, *prompts: str) -> Any:
    """`(packed z_t, t in [0, 1], index of each row's prompt) -> velocity`; without indices all have the first one."""
    with torch.no_grad():
        encoded = [
            pipe.encode_prompt(prompt, prompt, max_sequence_length=pipe.tokenizer_2.model_max_length)
            for prompt in prompts
        ]
    text, pooled, text_ids = torch.cat([e[0] for e in encoded]), torch.cat([e[1] for e in encoded]), encoded[0][2]
    side = pipe.vae.config.sample_size // pipe.vae_scale_factor // PATCH
    image_ids = pipe._prepare_latent_image_ids(1, side, side, torch.device("cpu"), torch.float32)

    def velocity(z_t: Tensor, t: Tensor, which: Tensor | None = None) -> Tensor:
        n = len(z_t)
        return pipe.transformer(
            z_t,
            timestep=t,
            encoder_hidden_states=text[:1].expand(n, -1, -1) if which is None else text[which],
            pooled_projections=pooled[:1].expand(n, -1) if which is None else pooled[which],
            txt_ids=text_ids,
            img_ids=image_ids,
        ).sample

    return velocity


def _draws(pictures: int, recipe: FlowRecipe, generator: torch.Generator) -> list[Tensor]:
    """Which pictures each step takes: all of them once before any is taken again."""
    rounds = [torch.randperm(pictures, generator=generator) for _ in range(recipe.presentations)]
    return list(torch.cat(rounds).split(recipe.batch))
