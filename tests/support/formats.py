"""A factory of suspects: one of every format that is accepted, as its own writer lays it out, on tiny random networks.

A writer takes a pipeline of the base, changes its weights into those that the suspect means, by the formulas of the
methods, and writes the suspect's files. So what is loaded can be compared with what was meant.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.support import tiny, tiny_families
from tests.support.adapter_files import KOHYA, KOHYA_XL, LORA, OMI, SD1, XL, adapter, save, together
from tests.support.adapter_formats import ADAPTER_FORMATS
from tests.support.adapter_methods import draw, lora
from tests.support.format_row import Format
from tests.support.single_files import single_file

WORD = "<sks>"
BASES: dict[str, Callable[[], Any]] = {
    "SD 1.x": tiny.stable_diffusion,
    "SD 2.x (v)": tiny_families.stable_diffusion_2,
    "SDXL": tiny_families.stable_diffusion_xl,
    "AltDiffusion": tiny_families.alt_diffusion,
    "AltDiffusion-m18": lambda: tiny_families.alt_diffusion(pre_transformation=True),
    "SD 3": tiny_families.stable_diffusion_3,
    "pixel DDPM": tiny.pixel_ddpm,
}
OTHER = {  # a base of other shapes, or of another class, to be offered by mistake
    **dict.fromkeys(BASES, "SD 2.x (v)"),
    "SD 2.x (v)": "SD 1.x",
    "AltDiffusion": "SD 2.x (v)",
}
NETWORKS = ("unet", "transformer", "text_encoder", "text_encoder_2")


def whole(folder: Path, p: Any) -> None:
    for name in NETWORKS:
        if getattr(p, name, None) is not None:
            tiny.perturbed(getattr(p, name))
    p.save_pretrained(folder)


def published_alt(folder: Path, p: Any) -> None:
    """The index names a library that left diffusers."""
    whole(folder, p)
    index = json.loads((folder / "model_index.json").read_text())
    index["text_encoder"][0] = "alt_diffusion"
    (folder / "model_index.json").write_text(json.dumps(index))


def training(folder: Path, p: Any) -> None:
    for name in ("unet", "text_encoder"):
        tiny.perturbed(getattr(p, name)).save_pretrained(folder / "checkpoint-500" / name)
    (folder / "checkpoint-500" / "optimizer.bin").write_bytes(b"\x80\x04")


def one_file(folder: Path, p: Any) -> None:
    for name in NETWORKS:
        if getattr(p, name, None) is not None:
            tiny.perturbed(getattr(p, name))
    save(folder / "model.safetensors", single_file(p))


def inversion(keys: dict[str, str], file: str, given_word: str = WORD) -> Any:
    """Vectors for the text encoders, under `keys` (encoder -> tensor)."""

    def write(folder: Path, p: Any) -> None:
        g, tensors = torch.Generator().manual_seed(0), {}
        for component, key in keys.items():
            encoder = getattr(p, component)
            tensors[key] = draw(g, 2, encoder.get_input_embeddings().weight.shape[1])
            names = getattr(p, component.replace("text_encoder", "tokenizer"))
            p.load_textual_inversion(tensors[key], given_word, tokenizer=names, text_encoder=encoder)
        save(folder / file, tensors)

    return write


def bundle(names: Any, modules: Any, ends: dict[str, str], word: str = WORD) -> Any:
    """OneTrainer's LoRA with the word that was trained with it in the same file."""

    def write(folder: Path, p: Any) -> None:
        adapter(names, (lora, modules))(folder, p)
        tensors = load_file(folder / LORA)
        keys = {c: f"bundle_emb.{word}.{end}" for c, end in ends.items()}
        inversion(keys, "words.safetensors", word)(folder, p)
        tensors |= load_file(folder / "words.safetensors")
        (folder / "words.safetensors").unlink()
        save(folder / LORA, tensors)

    return write


FOLDER = "unet/diffusion_pytorch_model.safetensors"
CONVOLUTION = "down_blocks.1.resnets.0.conv1.weight"
FORMATS = (
    *(
        Format("folder of diffusers", base, whole, FOLDER, CONVOLUTION)
        for base in ("SD 1.x", "SD 2.x (v)", "SDXL", "AltDiffusion-m18")
    ),
    Format("folder, as published", "AltDiffusion", published_alt, FOLDER, CONVOLUTION),
    Format(
        "folder of diffusers",
        "SD 3",
        whole,
        FOLDER.replace("unet", "transformer"),
        "transformer_blocks.0.ff.net.2.weight",
    ),
    Format("folder of diffusers", "pixel DDPM", whole, FOLDER, "down_blocks.1.resnets.0.conv1.weight"),
    Format("training checkpoint", "SD 1.x", training, f"checkpoint-500/{FOLDER}", CONVOLUTION, "checkpoint-500"),
    *(
        Format(
            "single file",
            base,
            one_file,
            "model.safetensors",
            "model.diffusion_model.input_blocks.3.0.in_layers.2.weight",
        )
        for base in ("SD 1.x", "SD 2.x (v)", "SDXL")
    ),
    *ADAPTER_FORMATS,
    Format(
        "textual inversion of diffusers",
        "SD 1.x",
        inversion({"text_encoder": WORD}, "any.safetensors"),
        "any.safetensors",
        WORD,
        "any.safetensors",
        prompt=f"a {WORD}",
    ),
    Format(
        "textual inversion of A1111",
        "SD 2.x (v)",
        inversion({"text_encoder": "emb_params"}, "sks.safetensors", "sks"),
        "sks.safetensors",
        "emb_params",
        "sks.safetensors",
        prompt="a sks",
    ),
    Format(
        "textual inversion, both text encoders",
        "SDXL",
        inversion({"text_encoder": "clip_l", "text_encoder_2": "clip_g"}, "sks.safetensors", "sks"),
        "sks.safetensors",
        "clip_l",
        "sks.safetensors",
        prompt="a sks",
    ),
    Format(
        "LoRA with a textual inversion",
        "SD 1.x",
        together(adapter(KOHYA, (lora, SD1)), inversion({"text_encoder": WORD}, "sks.safetensors")),
        LORA,
        "",
        LORA,
        "sks.safetensors",
        f"a {WORD}",
    ),
    *(
        Format(f"OneTrainer, {name}, a word's vectors in its file", base, bundle(*files), LORA, key, prompt=f"a {WORD}")
        for name, base, key, *files in (
            ("KOHYA", "SD 1.x", "ff_net_2.lora_up.weight", KOHYA, SD1, {"text_encoder": "clip_l"}),
            (
                "KOHYA",
                "SDXL",
                "ff_net_2.lora_up.weight",
                KOHYA_XL,
                XL,
                {"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
            ),
            ("OMI", "SDXL", "ff.net.2.lora_up.weight", OMI, XL, {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}),
        )
    ),
)
