"""Recipes of whole models: folders, checkpoints of a training and single files, with parts lost, cut or doubled."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.support import tiny
from tests.support.adapter_files import DIFFUSERS, SAVED, UNET, adapter, save
from tests.support.adapter_methods import plain
from tests.support.cases.bases import make_base
from tests.support.cases.given import Given
from tests.support.formats import NETWORKS
from tests.support.single_files import nai_names, single_file

IN_PARTS = "40KB"  # of which the tiny UNet has several
PICKLE = b"\x80\x02}q\x00."  # an empty dictionary


def fine_tune(base: str, networks: Sequence[str] = NETWORKS) -> Any:
    """The base with the weights of its networks moved a little."""
    pipeline = make_base(base)
    for name in networks:
        if getattr(pipeline, name, None) is not None:
            tiny.perturbed(getattr(pipeline, name))
    return pipeline


def stored_as(module: torch.nn.Module, kind: torch.dtype) -> None:
    """Round the weights in place to what a type can hold."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(p.to(kind).float())


def whole_folder(
    folder: Path,
    *,
    base: str = "SD 1.x",
    networks: Sequence[str] = NETWORKS,
    lost: Sequence[str] = (),
    entries: Mapping[str, Mapping[str, Any]] | None = None,
    texts: Mapping[str, str] | None = None,
    from_base: Sequence[str] = (),
    not_finite: str | None = None,
) -> Given:
    """A folder as diffusers saves a fine-tune, damaged.

    Args:
        folder: where it is written.
        base: of which it is a fine-tune.
        networks: that differ from the base's.
        lost: files and folders that are removed.
        entries: file -> entries of its JSON that are set.
        texts: file -> what it holds instead.
        from_base: components that its index does not list: the base's are meant.
        not_finite: a network whose weights are no numbers.
    """
    pipeline = fine_tune(base, networks)
    if not_finite is not None:
        for p in getattr(pipeline, not_finite).parameters():
            p.data.fill_(torch.nan)
    pipeline.save_pretrained(folder)
    for name in lost:
        remove(folder / name)
    for name, changes in (entries or {}).items():
        table = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(table | dict(changes)))
    for name, text in (texts or {}).items():
        (folder / name).write_text(text)
    for name in from_base:
        setattr(pipeline, name, getattr(make_base(base), name))
    return Given(folder, pipeline)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()


def folder_in_parts(folder: Path, *, variant: str | None = None, new_file: bool = False) -> Given:
    """A folder whose weights lie in several files with an index; `new_file`: and a newer save in one file beside it."""
    pipeline = fine_tune("SD 1.x")
    if variant == "fp16":
        for name in ("unet", "text_encoder", "vae"):
            stored_as(getattr(pipeline, name), torch.float16)
        pipeline.to(torch.float16)
    pipeline.save_pretrained(folder, max_shard_size=IN_PARTS, variant=variant)
    pipeline.to(torch.float32)
    if new_file:
        tiny.perturbed(pipeline.unet, seed=2)
        save(folder / "unet" / "diffusion_pytorch_model.safetensors", pipeline.unet.state_dict())
    return Given(folder, pipeline)


def unet_in_half(folder: Path) -> Given:
    """A folder whose UNet is there as fp16 alone, and all else in full precision alone."""
    pipeline = fine_tune("SD 1.x")
    stored_as(pipeline.unet, torch.float16)
    pipeline.save_pretrained(folder)
    remove(folder / "unet")
    pipeline.unet.half().save_pretrained(folder / "unet", variant="fp16")
    pipeline.unet.float()
    return Given(folder, pipeline)


def pickled_unet(folder: Path) -> Given:
    """A folder whose UNet is a pickle alone."""
    made = whole_folder(folder, lost=["unet/diffusion_pytorch_model.safetensors"])
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(PICKLE)
    return made


def folder_and_lora(folder: Path) -> Given:
    """The base, saved again as a whole, and beside its index the LoRA that was trained."""
    pipeline = make_base("SD 1.x")
    pipeline.save_pretrained(folder)
    adapter(DIFFUSERS, (plain, {"unet": UNET}), file=SAVED)(folder, make_base("SD 1.x"))
    return Given(folder)


def training_checkpoint(folder: Path, *, kind: str) -> Given:
    """What a training leaves on its way.

    `kind`: "averages beside" has unet/ and unet_ema/, "accelerate" the UNet's weights without a configuration, and
    "one file" is the weights of a folder unet/, named alone.
    """
    pipeline = fine_tune("SD 1.x", ["unet"])
    if kind == "accelerate":
        save(folder / "model.safetensors", pipeline.unet.state_dict())
        (folder / "optimizer.bin").write_bytes(PICKLE)
        return Given(folder, pipeline)
    pipeline.unet.save_pretrained(folder / "unet")
    if kind == "averages beside":
        tiny.perturbed(make_base("SD 1.x").unet, seed=2).save_pretrained(folder / "unet_ema")
        return Given(folder, pipeline)
    return Given(folder / "unet" / "diffusion_pytorch_model.safetensors", pipeline)


def one_file(
    folder: Path,
    *,
    base: str = "SD 1.x",
    networks: Sequence[str] = NETWORKS,
    lost: Sequence[str] = (),
    old_names: bool = False,
    stored: str = "float32",
    scales: bool = False,
    averages: bool = False,
    channels: int | None = None,
    markers: Sequence[str] = (),
) -> Given:
    """A whole model in one file, under the names of Stability's own code.

    Args:
        folder: where it is written.
        base: of which it is a fine-tune.
        networks: that differ from the base's.
        lost: beginnings of names that the file lacks.
        old_names: the text encoder under its names before 2022.
        stored: the type of its weights.
        scales: a scale beside each weight of 8 bits, and the marker of such files.
        averages: running averages of the UNet's weights, which differ from them.
        channels: that its UNet reads.
        markers: empty tensors, which say what it predicts.
    """
    pipeline, kind = fine_tune(base, networks), getattr(torch, stored)
    for name in NETWORKS:
        if getattr(pipeline, name, None) is not None:
            stored_as(getattr(pipeline, name), kind)
    state = {k: v for k, v in single_file(pipeline).items() if not k.startswith(("model_ema.", *lost))}
    state = {k: v.to(kind) if v.ndim > 1 else v for k, v in state.items()}
    state = nai_names(state) if old_names else state
    inside = "model.diffusion_model."
    if scales:
        weights = [k for k in state if k.startswith(inside) and k.endswith(".weight") and state[k].ndim > 1]
        state |= {f"{k}".replace(".weight", ".scale_weight"): torch.tensor(0.01) for k in weights}
        state["scaled_fp8"] = torch.zeros(2, dtype=kind)
    if averages:
        others = {k: v + 0.1 for k, v in state.items() if k.startswith(inside)}
        state |= {f"model_ema.{k.removeprefix('model.').replace('.', '')}": v for k, v in others.items()}
        state["model_ema.decay"] = torch.tensor(0.9999)
    if channels is not None:
        first = f"{inside}input_blocks.0.0.weight"
        state[first] = torch.zeros(len(state[first]), channels, 3, 3)
    state |= {name: torch.zeros(0) for name in markers}
    save(folder / "model.safetensors", state)
    return Given(folder / "model.safetensors", pipeline)


RECIPES = {
    "folder": whole_folder,
    "folder in parts": folder_in_parts,
    "folder with a UNet in half precision": unet_in_half,
    "folder with a pickled UNet": pickled_unet,
    "folder and LoRA": folder_and_lora,
    "training checkpoint": training_checkpoint,
    "one file": one_file,
}
