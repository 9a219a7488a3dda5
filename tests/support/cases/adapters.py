"""Recipes of adapters: as a trainer writes them, in the dialect and of the methods that a case names."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from cgidm.resources import find_example
from tests.support import adapter_files, adapter_formats, adapter_refusals
from tests.support.adapter_files import LORA, SAVED, Names, adapter
from tests.support.adapter_methods import Method, Parts, decomposed, draw, full, lokr, lora, norm, whole_lokr
from tests.support.cases.bases import make_base
from tests.support.cases.given import Given
from tests.support.formats import bundle, inversion

NAMES: Mapping[str, Names] = {
    "kohya": adapter_files.KOHYA,
    "kohya, SDXL": adapter_files.KOHYA_XL,
    "diffusers": adapter_files.DIFFUSERS,
    "OneTrainer, OMI": adapter_files.OMI,
    "SimpleTuner, LyCORIS": adapter_files.WRAPPED,
}
MODULES: Mapping[str, adapter_files.Modules] = {
    "UNet": {"unet": adapter_files.UNET},
    "UNet's linear layers": {"unet": adapter_files.LINEAR},
    "UNet's convolutions": {"unet": adapter_files.UNET[2:4]},
    "UNet's norms": {"unet": adapter_files.NORM_LAYERS},
    "UNet and text encoder": adapter_files.SD1,
    "UNet and both text encoders": adapter_files.XL,
    "second text encoder and its projection": {
        "text_encoder_2": (f"text_model.{adapter_files.TEXT}", "text_projection")
    },
}


def low_rank(layer: Any, g: torch.Generator, *, rank: int, alpha: float | None, stored: str = "float32") -> Parts:
    """LoRA of a rank, its numbers rounded as they are stored; without an alpha, the rank is meant."""
    weight, kind = layer.weight, getattr(torch, stored)
    down = draw(g, rank, *weight.shape[1:]).to(kind)
    up = draw(g, weight.shape[0], rank, *[1] * (weight.ndim - 2)).to(kind)
    scale = 1.0 if alpha is None else alpha / rank
    with torch.no_grad():
        weight.add_(scale * torch.einsum("or...,ri...->oi...", up.float(), down.float()))
    parts = {"lora_down.weight": down, "lora_up.weight": up}
    alphas = torch.float16 if kind == torch.float8_e4m3fn else kind  # nobody rounds an alpha to 8 bits
    return parts | ({} if alpha is None else {"alpha": torch.tensor(alpha, dtype=alphas)})


def whole_factors(layer: Any, g: torch.Generator, *, alpha: float) -> Parts:
    """LoKr of two whole factors: no rank is known, and LyCORIS reads it with scale 1 whatever its alpha."""
    return whole_lokr(layer, g) | {"alpha": torch.tensor(alpha)}


METHODS: Mapping[str, Method] = {
    "LoKr": lokr,
    "DoRA per input": decomposed(lora, 1),
    "full differences": full,
    "differences of norms": norm,
}


def choose_method(method: str, **settings: Any) -> Method:
    """A method by its name; LoRA has a rank, an alpha and a type."""
    if method == "LoRA":
        return partial(low_rank, **{"rank": 2, "alpha": 3.0, **settings})
    if method == "LoKr of two whole factors":
        return partial(whole_factors, **settings)
    assert not settings, f"{method} has no settings"
    return METHODS[method]


def trained_adapter(
    folder: Path,
    *,
    base: str,
    names: str,
    groups: list[dict[str, Any]],
    alphas: bool = True,
    header: Mapping[str, Any] | None = None,
    file: str = LORA,
    not_finite: bool = False,
) -> Given:
    """A file of an adapter: each group a method, its settings, and the modules that it changes."""
    chosen = [(choose_method(**{k: v for k, v in g.items() if k != "modules"}), MODULES[g["modules"]]) for g in groups]
    pipeline = make_base(base)
    texts = None if header is None else {k: v if isinstance(v, str) else json.dumps(v) for k, v in header.items()}
    adapter(NAMES[names], *chosen, file=file, header=texts, drop=() if alphas else ("alpha",))(folder, pipeline)
    if not_finite:
        state = load_file(folder / file)
        weights = {k: torch.full_like(v, torch.nan) if v.ndim else v for k, v in state.items()}
        save_file(weights, folder / file, texts)
    return Given(folder / file, pipeline)


def peft_adapter(folder: Path, *, rank: int, alpha: float, alone: bool = False) -> Given:
    """What peft itself saves of a LoRA on the UNet; `alone`: the file without its adapter_config.json."""
    pipeline = make_base("SD 1.x")
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["to_k", "to_v"])
    adapter_formats.peft_folder(lambda: config)(folder, pipeline)
    if not alone:
        return Given(folder, pipeline)
    (folder / "adapter_config.json").unlink()
    return Given(folder / adapter_formats.FILE, pipeline)


def two_folders_of_peft(folder: Path) -> Given:
    """An adapter of the UNet and one of the text encoder, each in its folder with its configuration."""
    pipeline = make_base("SD 1.x")
    adapter_formats.two_folders(folder, pipeline)
    return Given(folder, pipeline)


def shipped_lora_of_peft(folder: Path, *, example: str, rank: int, alpha: float) -> Given:
    """A shipped LoRA as peft notes it: smaller factors and a larger alpha, with its configuration and once without.

    What it means is the file that ships.
    """
    shipped = find_example(example).checkpoint / SAVED
    state = {}
    for name, tensor in load_file(shipped).items():
        smaller = tensor * (rank / alpha) if ".lora_B." in name or ".up." in name else tensor
        state[f"base_model.model.{name.removeprefix('unet.')}"] = smaller
    for part in ("whole", "alone"):
        (folder / part).mkdir()
        save_file(state, folder / part / adapter_formats.FILE)
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["to_k"]}
    (folder / "whole" / "adapter_config.json").write_text(json.dumps(settings))
    return Given(folder, shipped)


def adapter_with_word(folder: Path, *, base: str, word: str) -> Given:
    """OneTrainer's LoRA with the vectors of a word in the same file."""
    pipeline = make_base(base)
    ends = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
    bundle(NAMES["kohya, SDXL"], MODULES["UNet"], ends, word)(folder, pipeline)
    return Given(folder / LORA, pipeline)


def adapter_beside(folder: Path, *, base: str, embedding: str | None = None, other: str | None = None) -> Given:
    """diffusers' LoRA under its fixed name, and beside it vectors of a word or another LoRA."""
    pipeline = make_base(base)
    adapter(NAMES["diffusers"], (choose_method("LoRA", alpha=None), MODULES["UNet"]), file=SAVED)(folder, pipeline)
    if other is not None:
        spare = make_base(base)
        adapter(NAMES["diffusers"], (choose_method("LoRA", alpha=None), MODULES["UNet's linear layers"]), file=other)(
            folder, spare
        )
    if embedding is not None:
        ends = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
        inversion(ends, embedding, Path(embedding).stem)(folder, make_base(base))
        (folder / "README.md").write_text("A LoRA and its embeddings.\n")
    return Given(folder, pipeline)


def named_modules(
    folder: Path,
    *,
    modules: Mapping[str, tuple[int, int]],
    dialect: str = "kohya",
    header: Mapping[str, str] | None = None,
) -> Given:
    """LoRA factors of rank 4 under given names, for (outputs, inputs) of published sizes: of no network that is here.

    `dialect`: kohya writes down, up and alpha; diffusers A and B.
    """
    parts = () if dialect == "kohya" else (adapter_refusals.A, adapter_refusals.B, False)
    shapes = {name: (out, into) for name, (out, into) in modules.items()}
    adapter_refusals.file(adapter_refusals.pairs(shapes, *parts), header)(folder)
    return Given(folder / LORA)


def refused_adapter(folder: Path, *, row: str, config: Mapping[str, Any] | None = None) -> Given:
    """A row of the table of refusals; with a configuration of peft beside it, a folder of peft."""
    (found,) = [r for r in adapter_refusals.REFUSALS if r.name == row]
    found.write(folder)
    if config is None:
        return Given(folder / found.given)
    (folder / found.given).rename(folder / adapter_formats.FILE)
    (folder / "adapter_config.json").write_text(json.dumps(dict(config)))
    return Given(folder)


RECIPES = {
    "adapter": trained_adapter,
    "adapter of peft": peft_adapter,
    "adapters of peft in two folders": two_folders_of_peft,
    "shipped LoRA as peft saves it": shipped_lora_of_peft,
    "LoRA with a word in its file": adapter_with_word,
    "LoRA with a file beside it": adapter_beside,
    "LoRA of published sizes": named_modules,
    "row of refusals": refused_adapter,
}
