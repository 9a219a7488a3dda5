"""Adapter files as trainers write them: the names of each dialect, on the networks of a pipeline.

A writer takes a folder and a pipeline, changes the pipeline's layers into what the file means, and writes the file.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cgidm.families.changes.targets import NORMS, WEIGHTED, sgm_names
from tests.support.adapter_methods import ALPHA, RANK, Method, Parts

Modules = Mapping[str, tuple[str, ...]]  # network -> modules
Writer = Callable[[Path, Any], None]

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
OBLONG = "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2"
UNET = (ATTENTION, "down_blocks.1.attentions.0.proj_in", "mid_block.resnets.0.conv1", "conv_out", OBLONG)
LINEAR = (ATTENTION, OBLONG)
NORM_LAYERS = ("down_blocks.1.attentions.0.norm", "mid_block.resnets.0.norm1")
TEXT = "encoder.layers.0.mlp.fc1"
ALT_TEXT = "roberta.encoder.layer.0.attention.self.query"
TRANSFORMER = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.ff.net.2")
SD1 = {"unet": UNET, "text_encoder": (TEXT,)}
XL = {**SD1, "text_encoder_2": (f"text_model.{TEXT}",)}
LORA = "lora.safetensors"
SAVED = "pytorch_lora_weights.safetensors"


@dataclass(frozen=True)
class Names:
    """How a dialect names modules and parts.

    Attributes:
        prefixes: network -> what stands before its modules' names.
        flat: whether underscores take the place of dots.
        sgm: whether the UNet has the names of Stability's code.
        endings: part, as kohya and LyCORIS write it -> ending.
    """

    prefixes: Mapping[str, str]
    flat: bool = False
    sgm: bool = False
    endings: Mapping[str, str] = field(default_factory=dict)

    def module(self, component: str, name: str, p: Any) -> str:
        """The name of a module, as the dialect writes it."""
        if component == "unet" and self.sgm:
            name = names_of_stability(p.unet)[name]
        if component.startswith("text_encoder") and name.startswith("encoder."):
            name = f"text_model.{name}"  # transformers 5 dropped the prefix that files still have
        return self.prefixes[component] + (name.replace(".", "_") if self.flat else name)

    def ending(self, part: str) -> str:
        """The ending of a part, as the dialect writes it."""
        return self.endings.get(part, part)


@lru_cache(maxsize=4)
def names_of_stability(unet: Any) -> dict[str, str]:
    """diffusers' names of a UNet's modules -> those of Stability's code."""
    return {ours: theirs for theirs, ours in sgm_names(unet, (*WEIGHTED, *NORMS)).items()}


AB = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight", "lora_up.bias": "lora_B.bias"}
AB_DORA = {**AB, "dora_scale": "lora_magnitude_vector"}
DEFAULT = {"lora_down.weight": "lora_A.default.weight", "lora_up.weight": "lora_B.default.weight"}
DOWN_UP = {"lora_down.weight": "lora.down.weight", "lora_up.weight": "lora.up.weight"}
LINEAR_LAYER = {part: f"lora_linear_layer.{ending.removeprefix('lora.')}" for part, ending in DOWN_UP.items()}
TE = {"text_encoder": "lora_te_"}
TE_XL = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
DIFFUSERS_PREFIXES = {c: f"{c}." for c in ("unet", "transformer", "text_encoder", "text_encoder_2")}
COMFY_PREFIXES = {
    **{"unet": "diffusion_model.", "transformer": "diffusion_model."},
    "text_encoder": "text_encoders.clip_l.transformer.",
    "text_encoder_2": "text_encoders.clip_g.transformer.",
}
KOHYA = Names({"unet": "lora_unet_", **TE}, flat=True)
KOHYA_SGM = Names({"unet": "lora_unet_", **TE}, flat=True, sgm=True)
KOHYA_XL = Names({"unet": "lora_unet_", **TE_XL}, flat=True, sgm=True)
KOHYA_XL_DIFFUSERS = Names({"unet": "lora_unet_", **TE_XL}, flat=True)
WRAPPED = Names(dict.fromkeys(("unet", "transformer", "text_encoder"), "lycoris_"), flat=True)
DIFFUSERS = Names(DIFFUSERS_PREFIXES, endings=AB)
DIFFUSERS_DORA = Names(DIFFUSERS_PREFIXES, endings=AB_DORA)
OLD = Names(DIFFUSERS_PREFIXES, endings=DOWN_UP)
OLDER_TEXT = Names(DIFFUSERS_PREFIXES, endings=LINEAR_LAYER)
OMI = Names({"unet": "unet.", "text_encoder": "clip_l.", "text_encoder_2": "clip_g."}, sgm=True)
ORIGINAL = Names({"unet": "", "text_encoder": "clip_l."}, sgm=True, endings=AB)
BARE = Names({"unet": ""}, endings=AB)
DIFFSYNTH = Names({"unet": ""}, endings=DEFAULT)
COMFY = Names(COMFY_PREFIXES, sgm=True)
COMFY_AB = Names(COMFY_PREFIXES, sgm=True, endings=AB)
COMFY_DIFFUSERS = Names(COMFY_PREFIXES, endings=AB)
PEFT = Names(dict.fromkeys(("unet", "transformer", "text_encoder", "text_encoder_2"), "base_model.model."), endings=AB)


def save(path: Path, tensors: Parts, metadata: Mapping[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, None if metadata is None else dict(metadata))


def change(p: Any, method: Method, modules: Modules, seed: int = 0) -> dict[tuple[str, str], Parts]:
    """Change the layers of `modules` by `method`; returns (network, module) -> parts."""
    g = torch.Generator().manual_seed(seed)
    return {
        (component, name): method(getattr(p, component).get_submodule(name), g)
        for component, names in modules.items()
        for name in names
    }


def adapter(
    names: Names,
    *groups: tuple[Method, Modules],
    file: str = LORA,
    header: Mapping[str, str] | None = None,
    drop: tuple[str, ...] = (),
    folder: str = "",
    config: Mapping[str, Any] | None = None,
) -> Writer:
    """A writer of one file.

    Args:
        names: the dialect.
        groups: methods, with the modules that each changes.
        file: the file's name.
        header: its metadata.
        drop: parts that the dialect does not write: an alpha that stands elsewhere.
        folder: of the file; "": the suspect's own.
        config: peft's adapter_config.json beside it.
    """

    def write(place: Path, p: Any) -> None:
        tensors = {}
        for seed, (method, modules) in enumerate(groups):
            for (component, name), parts in change(p, method, modules, seed).items():
                told = names.module(component, name, p)
                tensors |= {f"{told}.{names.ending(part)}": x for part, x in parts.items() if part not in drop}
        save(place / folder / file, tensors, header)
        if config is not None:
            (place / folder / "adapter_config.json").write_text(json.dumps(config))

    return write


def noted(components: Mapping[str, Any], **more: Any) -> dict[str, str]:
    """The header in which diffusers and SimpleTuner note peft's configuration of each network."""
    settings = {"r": RANK, "lora_alpha": ALPHA, **more}
    return {"lora_adapter_metadata": json.dumps({f"{c}.{k}": v for c in components for k, v in settings.items()})}


def together(*writers: Writer) -> Writer:
    def write(folder: Path, p: Any) -> None:
        for writer in writers:
            writer(folder, p)

    return write
