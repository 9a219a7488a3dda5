"""Which card a verdict and a recovery fit: bytes of weights and of one row, counted without computing.

    python -m eval fits --out eval/results/memory.json

The page's table of families, `cgidm/page/runs/model_sizes.json`, is an excerpt of the counts, written by the same
command.

A verdict needs forward passes alone. A recovery needs a backward pass too, which is counted with activations that are
computed twice: stored, they would take several times as much. Both are planned by the library's own rule
(`cgidm/method/card_fit.py`). Networks of Stable Diffusion 1, 2 and XL are counted whole, at the size of their own
pictures; those of rectified flow in every precision, at 1024 x 1024.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import torch
from torch import Tensor

from cgidm.device import Quantisation
from cgidm.families.conditioning import ConditionedNetwork, condition_on_prompt
from cgidm.families.load import silence_libraries
from cgidm.families.memory import picture_bytes, row_bytes, weight_bytes
from cgidm.families.quantised import quantise
from cgidm.intake.family import CLASSES
from cgidm.method.card_fit import CARDS, smallest_card
from cgidm.method.memory_plan import MemoryPlan
from eval.markdown import markdown_table
from eval.memory.build import META, FlowArchitecture, build_network, flow_architectures, text_encoder_bytes
from eval.speed.build import Architecture, build_pipeline, read_architecture

PRECISIONS: tuple[Quantisation | None, ...] = (None, *get_args(Quantisation))
RESOLUTION = 1024  # pixels
UNETS = {"sd14": "SD 1.x", "sd21": "SD 2.x", "sdxl": "SDXL"}  # of `eval/speed/architectures`, and their families
EXCERPT = Path("cgidm/page/runs/model_sizes.json")
EXCERPT_PRECISION = "bf16"  # the page packs no weights


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fits`."""
    parser.add_argument("--models", help="names, comma-separated (default: all)")
    parser.add_argument(
        "--out", type=Path, default=Path("eval/results/memory.json"), help="file of the counts; those in it are kept"
    )
    parser.add_argument("--excerpt", type=Path, default=EXCERPT, help="file of what the page needs of them")


def run_options(options: argparse.Namespace) -> None:
    """Run `fits`."""
    silence_libraries()
    known = flow_architectures()
    names = options.models.split(",") if options.models else [*UNETS, *known]
    counts = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in names:
        counts[name] = count_unet(read_architecture(name)) if name in UNETS else count_model(known[name])
        print(f"{name}: {counts[name]}", flush=True)
        options.out.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    options.excerpt.write_text(json.dumps(page_excerpt(counts), indent=1) + "\n")


def count_model(architecture: FlowArchitecture) -> dict[str, Any]:
    """Count one model in every precision: bytes of weights, of a row and of a picture at 1024 x 1024.

    What a row takes is counted whole and in nf4. In fp8 it is as in nf4, which unpacks into larger tensors.
    """
    whole = build_network(architecture)
    codec: Any = whole.codec
    packed = {kind: build_network(architecture) for kind in get_args(Quantisation)}
    for kind, model in packed.items():
        quantise([model.network], kind)
    with fused_attention():
        tilings = (("picture", False), ("picture_tiled", True))
        pictures = {name: picture_bytes(codec, RESOLUTION, tiling) for name, tiling in tilings}
        rows = {"bf16": _row_bytes(whole), "fp8": (unpacked := _row_bytes(packed["nf4"])), "nf4": unpacked}
    found: dict[str, Any] = {
        "title": architecture.title,
        "text_encoders": text_encoder_bytes(architecture),
        "parameters": sum(w.numel() for w in whole.network.parameters()),
    }
    for precision, model in {"bf16": whole, **packed}.items():
        weights = {"network": weight_bytes(model.network), "codec": weight_bytes(codec.vae)}
        found[precision] = weights | rows[precision] | pictures
    return found


def count_unet(architecture: Architecture) -> dict[str, Any]:
    """Count a UNet, whole: its weights in half precision, and a row and a picture of its own size."""
    pipeline = build_pipeline(architecture, torch.device("cpu"), torch.bfloat16)
    model = condition_on_prompt(pipeline, "")
    encoders = [part for name, part in pipeline.components.items() if name.startswith("text_encoder") and part]
    codec: Any = model.codec
    for part in (model.network, codec.vae):
        part.to(META)
    model = replace(model, device=META, conditions=tuple(c.to(META) for c in model.conditions))
    weights = {"network": weight_bytes(model.network), "codec": weight_bytes(codec.vae)}
    with fused_attention():
        tilings = (("picture", False), ("picture_tiled", True))
        pictures = {name: picture_bytes(codec, model.resolution, tiling) for name, tiling in tilings}
        rows = _row_bytes(model, model.resolution)
    return {
        "title": architecture.title,
        "text_encoders": weight_bytes(*encoders),
        "parameters": sum(w.numel() for w in model.network.parameters()),
        EXCERPT_PRECISION: weights | rows | pictures,
    }


def page_excerpt(counts: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What the page needs: family -> its models from the smallest, each with its title and bytes, whole."""
    pipelines = {name: architecture.pipeline for name, architecture in flow_architectures().items()}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, model in sorted(counts.items(), key=lambda item: item[1]["parameters"]):
        family = UNETS[name] if name in UNETS else CLASSES[pipelines[name]]
        assert family is not None
        about = {"title": model["title"], "text_encoders": model["text_encoders"]}
        found.setdefault(family, []).append(about | model[EXCERPT_PRECISION])
    return found


def _row_bytes(model: ConditionedNetwork, resolution: int = RESOLUTION) -> dict[str, int]:
    return {
        name: row_bytes(model, torch.bfloat16, checkpointing, resolution, gradient=gradient)
        for name, checkpointing, gradient in (("forward", False, False), ("backward", True, True))
    }


@contextmanager
def fused_attention() -> Iterator[None]:
    """Inside, attention takes the memory of the fused kernels that a GPU has.

    On tensors without numbers PyTorch would count whole attention matrices. The fused kernel for CPUs keeps what those
    for GPUs keep: the output, and one number for each query.
    """

    def fused(query: Tensor, key: Tensor, value: Tensor, *_: Any, **options: Any) -> Tensor:
        if options.get("enable_gqa"):
            key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[0]

    with mock.patch("torch.nn.functional.scaled_dot_product_attention", fused):
        yield


def table(counts: dict[str, Any]) -> str:
    """The table of the docs: a line for each model and precision."""
    heads = ["Model", "Weights in", "Network", "Verdict fits", "Recovery fits"]
    rows = []
    for model in sorted(counts.values(), key=lambda m: m["parameters"]):
        size = f"{model['title']} ({model['parameters'] / 1e9:.1f} billion)"
        for precision in (known for p in PRECISIONS if (known := p or "bf16") in model):
            counted = model[precision]
            cells = [_cell(smallest_card(counted, recovery=recovery)) for recovery in (False, True)]
            rows.append([size, precision, f"{counted['network'] / 1e9:.1f} GB", *cells])
            size = ""
    return markdown_table(heads, rows)


def _cell(found: tuple[int, MemoryPlan] | None) -> str:
    if found is None:
        return f"none of {CARDS[-1]} GB"
    card, plan = found
    held = {"in turns": plan.offloading, "tiles": plan.tiling}
    told = ", ".join(name for name, on in held.items() if on)
    return f"{card} GB ({told})" if told else f"{card} GB"
