"""Headers of adapter files as trainers write them at their default settings, for the exact architectures.

Names, shapes and notes after the trainers' public code; no weights: the files are sparse.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from eval.speed.build import read_architecture
from tests.support.adapter_files import (
    COMFY_AB,
    DIFFUSERS,
    KOHYA,
    KOHYA_XL,
    KOHYA_XL_DIFFUSERS,
    OLD,
    OMI,
    WRAPPED,
    Names,
)

RANK = 4
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
BLOCKS = ("Transformer2DModel",)  # kohya's scripts, OneTrainer's "attentions"
LYCORIS = (*BLOCKS, "ResnetBlock2D", "Downsample2D", "Upsample2D")  # LyCORIS' preset "full"
LYCORIS_ALONE = ("conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2")
CLIP_LAYERS = ("CLIPAttention", "CLIPMLP")
LORA = {"lora_down.weight": "down", "lora_up.weight": "up", "alpha": "alpha"}
FACTORS = {"lora_down.weight": "down", "lora_up.weight": "up"}
LOKR = {"lokr_w1": "w1", "lokr_w2": "w2", "alpha": "alpha"}
FULL = {"diff": "weight"}


@cache
def networks(family: str) -> Any:
    """The networks of Stable Diffusion 1.5 or XL, without their weights."""
    told = read_architecture({"SD 1.x": "sd14", "SDXL": "sdxl"}[family])
    with torch.device("meta"):
        found = {
            "unet": UNet2DConditionModel(**told.unet),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**told.text_encoders[0])),
        }
        if family == "SDXL":
            found["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**told.text_encoders[1]))
    return SimpleNamespace(**found)


def of_classes(network: Any, classes: tuple[str, ...]) -> list[str]:
    """The linear layers and convolutions in modules of these classes, as kohya's scripts and LyCORIS find them."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return list(
        dict.fromkeys(
            f"{name}.{child}" if child else name
            for name, module in network.named_modules()
            if type(module).__name__ in classes
            for child, layer in module.named_modules()
            if isinstance(layer, kinds)
        )
    )


def of_endings(network: Any, endings: tuple[str, ...]) -> list[str]:
    """The modules whose names end so, as peft finds its targets."""
    return [name for name, _ in network.named_modules() if name.endswith(endings)]


def shape_of(part: str, weight: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a part for a weight, (out, in, *kernel)."""
    out, into, *kernel = weight
    shapes = {
        "down": (RANK, into, *kernel),
        "up": (out, RANK, *(1 for _ in kernel)),
        "alpha": (),
        "w1": (4, 4),
        "w2": (out // 4, into // 4, *kernel),
        "weight": tuple(weight),
    }
    return shapes[part]


@dataclass(frozen=True, kw_only=True)
class TrainerFile:
    """A file of a trainer, and what must be read of it.

    Attributes:
        trainer: who writes it.
        family: of its base.
        names: the dialect.
        modules: network -> the modules that are trained.
        parts: ending -> part.
        metadata: the header's texts.
        dialect: as it is recognised.
        counts: modules of each network, as the trainer counts them.
        base: the public base that is suggested.
        prompt: the prompt that is suggested.
        recipe: settings of null models that are read.
    """

    trainer: str
    family: str
    names: Names
    modules: Mapping[str, list[str]]
    parts: Mapping[str, str]
    dialect: str
    counts: Mapping[str, int]
    metadata: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        p = networks(self.family)
        found = {}
        for component, names in self.modules.items():
            for name in names:
                told = self.names.module(component, name, p)
                weight = tuple(getattr(p, component).get_submodule(name).weight.shape)
                for ending, part in self.parts.items():
                    found[f"{told}.{self.names.ending(ending)}"] = shape_of(part, weight)
        return found

    def write(self, folder: Path) -> Path:
        """Write the file; its numbers are a hole."""
        header: dict[str, Any] = {"__metadata__": dict(self.metadata)}
        end = 0
        for key, shape in self.shapes().items():
            start, end = end, end + 2 * torch.Size(shape).numel()
            header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        path = folder / "lora.safetensors"
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + end)
        return path


KOHYA_NOTES = {
    "ss_network_module": "networks.lora",
    "ss_network_dim": "4",
    "ss_network_alpha": "1",
    "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit",
    "ss_lr_scheduler": "cosine",
    "ss_unet_lr": "0.0001",
    "ss_learning_rate": "0.0001",
    "ss_num_train_images": "200",
    "ss_num_epochs": "10",
    "ss_batch_size_per_device": "2",
    "ss_tag_frequency": json.dumps({"10_ohwx style": {"ohwx style": 20, "tree": 4}}),
    "ss_dataset_dirs": json.dumps({"10_ohwx style": {"n_repeats": 10, "img_count": 20}}),
    "modelspec.sai_model_spec": "1.0.0",
}
KOHYA_RECIPE = {"adapter": "lora", "rank": 4, "alpha": 1.0, "schedule": "cosine", "learning_rate": 1e-4}


def trainer_files() -> list[TrainerFile]:
    """One file a trainer and family."""
    files = []
    for family, kohya, text in (
        ("SD 1.x", KOHYA, ("text_encoder",)),
        ("SDXL", KOHYA_XL, ("text_encoder", "text_encoder_2")),
    ):
        p, xl = networks(family), family == "SDXL"
        blocks = of_classes(p.unet, BLOCKS)
        attention = of_endings(p.unet, ATTENTION)
        clip = {name: of_classes(getattr(p, name), CLIP_LAYERS) for name in text}
        projections = {name: of_endings(getattr(p, name), TEXT_ATTENTION) for name in text}
        counted = {"unet": 722 if xl else 192}
        of_clip = {"text_encoder": 72, "text_encoder_2": 192} if xl else {"text_encoder": 72}
        of_projections = {"text_encoder": 48, "text_encoder_2": 128} if xl else {"text_encoder": 48}
        of_attention = {"unet": 560 if xl else 128}
        version = {"ss_base_model_version": "sdxl_base_v1-0" if xl else "sd_v1"}
        spec = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora" if xl else "stable-diffusion-v1/lora"}
        common: dict[str, Any] = {"family": family}
        whole = {"unet": blocks, **clip}
        full = [n for n in (*of_classes(p.unet, LYCORIS), *LYCORIS_ALONE)]
        files += [
            TrainerFile(
                trainer="kohya",
                names=kohya,
                modules=whole,
                parts=LORA,
                dialect="kohya",
                counts=counted | of_clip,
                metadata=KOHYA_NOTES | version | spec,
                prompt="ohwx style",
                recipe=KOHYA_RECIPE | {"layers": "transformer", "text_encoder": True, "images": 20},
                **common,
            ),
            TrainerFile(
                trainer="LyCORIS, LoKr, preset full",
                names=kohya,
                modules={"unet": full, **clip},
                parts=LOKR,
                dialect="kohya",
                counts={"unet": 792 if xl else 282} | of_clip,
                metadata=KOHYA_NOTES | version | {"ss_network_module": "lycoris.kohya"},
                prompt="ohwx style",
                recipe={"adapter": "lokr", "layers": "everything"},
                **common,
            ),
            TrainerFile(
                trainer="diffusers' scripts",
                names=DIFFUSERS,
                modules={"unet": attention, **projections},
                parts=FACTORS,
                dialect="diffusers",
                counts=of_attention | of_projections,
                metadata={
                    "format": "pt",
                    "lora_adapter_metadata": json.dumps(
                        {f"{c}.{k}": v for c in ("unet", *text) for k, v in (("r", RANK), ("lora_alpha", RANK))}
                    ),
                },
                recipe={"adapter": "lora", "rank": 4, "layers": "attention", "text_encoder": True},
                **common,
            ),
            TrainerFile(
                trainer="OneTrainer, LEGACY",
                names=KOHYA_XL_DIFFUSERS if xl else KOHYA,
                modules=whole,
                parts=LORA,
                dialect="kohya",
                counts=counted | of_clip,
                metadata={
                    **spec,
                    "ot_branch": "master",
                    "ot_config": json.dumps(
                        {"lora_alpha": 1.0, "learning_rate": 3e-4, "optimizer": {"optimizer": "ADAMW"}}
                    ),
                },
                recipe={"adapter": "lora", "rank": 4, "alpha": 1.0, "learning_rate": 3e-4, "optimizer": "adamw"},
                **common,
            ),
            TrainerFile(
                trainer="OneTrainer, OMI",
                names=OMI,
                modules=whole,
                parts=LORA,
                dialect="diffusers",
                counts=counted | of_clip,
                metadata={**spec, "ot_branch": "master"},
                recipe={"adapter": "lora", "rank": 4},
                **common,
            ),
            TrainerFile(
                trainer="OneTrainer, COMFY",
                names=COMFY_AB,
                modules=whole,
                parts=LORA,
                dialect="ComfyUI",
                counts=counted | of_clip,
                metadata={**spec, "ot_branch": "master"},
                recipe={"adapter": "lora", "rank": 4},
                **common,
            ),
            TrainerFile(
                trainer="SimpleTuner, PEFT",
                names=OLD,
                modules={"unet": attention},
                parts=FACTORS,
                dialect="diffusers",
                counts=of_attention,
                metadata={
                    "lora_adapter_metadata": json.dumps({"unet.r": RANK, "unet.lora_alpha": RANK}),
                    "global_step": "100",
                },
                recipe={"adapter": "lora", "rank": 4, "layers": "attention"},
                **common,
            ),
            TrainerFile(
                trainer="SimpleTuner, LyCORIS, LoKr",
                names=WRAPPED,
                modules={"unet": of_classes(p.unet, ("Attention", "FeedForward"))},
                parts=LOKR,
                dialect="LyCORIS",
                counts={"unet": 700 if xl else 160},
                recipe={"adapter": "lokr"},
                **common,
            ),
            TrainerFile(
                trainer="ai-toolkit",
                names=KOHYA_XL if xl else KOHYA,
                modules={"unet": blocks},
                parts=LORA,
                dialect="kohya",
                counts=counted,
                metadata={
                    "ss_base_model_version": "sdxl_1.0" if xl else "sd_1.5",
                    "software": json.dumps({"name": "ai-toolkit"}),
                    "training_info": json.dumps({"step": 2000, "epoch": 99}),
                    "ss_tag_frequency": json.dumps({"1_ohwx": {"ohwx": 1}}),
                },
                prompt="ohwx",
                recipe={"adapter": "lora", "rank": 4, "layers": "transformer"},
                **common,
            ),
            TrainerFile(
                trainer="ComfyUI, extracted",
                names=COMFY_AB,
                modules={"unet": full, **clip},
                parts=FULL,
                dialect="ComfyUI",
                counts={"unet": 792 if xl else 282} | of_clip,
                recipe={"layers": "everything"},
                **common,
            ),
        ]
    return files
