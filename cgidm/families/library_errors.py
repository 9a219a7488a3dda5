"""What a library raises over somebody's files, as a sentence; and what no configuration may make it build."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isqrt
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ..errors import UserError
from ..intake.header import TensorInfo
from ..intake.layout import Checkpoint, read_json
from ..intake.listing import LocalListing
from .weight_coverage import explain_error

LARGEST = 8192  # of a whole number in a configuration, unless a tensor is as large: a vocabulary of 250,000 words
WIDEST = 256  # places on each side of a table of positions, unless the file holds a larger one: SD 3.5's has 384
DEEPEST = 256  # layers of a network, unless its file has more tensors than that
LONGEST_SCHEDULE = 100_000  # timesteps; published schedulers have 1,000
# text encoders that turn their features by their place: no table grows with the text that they may read
ROTARY = re.compile(r"(qwen\d|gemma\d|mistral|ministral|pixtral)")
CONTEXT, LONGEST_CONTEXT = ("max_position_embeddings", "rope_theta", "original_max_position_embeddings"), 100_000_000
POSITIONS = ("pos_embed_max_size", "sample_size")  # the side of a square table that is computed, not read
COUNTS = re.compile(r"(layers|blocks|heads|groups)(_per_block)?$")  # settings that count parts of a network


@contextmanager
def explain_library_errors(role: str, name: str) -> Iterator[None]:
    """Turn whatever a library raises inside into a `UserError` that names the model.

    A configuration can make diffusers and transformers raise any exception. Ours pass, and so do a device without
    memory and an interruption, which say nothing about the files.

    Args:
        role: what the model is used as: "base".
        name: what it is called.
    """
    try:
        yield
    except (UserError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise UserError("families.cannot_be_loaded", role=role, name=name, cause=explain_error(error)) from error


def check_configurations(folder: Path, checkpoint: Checkpoint, names: list[str]) -> None:
    """Check the configurations of the components `names` before a library builds anything of their size.

    Args:
        folder: where the checkpoint's files are, on this machine.
        checkpoint: the checkpoint.
        names: of its components.

    Raises:
        UserError: if one is no JSON object, or states more layers, words or steps than its weights can have.
    """
    local = LocalListing(folder, label=checkpoint.name)
    for name in names:
        files = [f.removeprefix(f"{checkpoint.root}/") for f in checkpoint.components[name].extras]
        for file in files:
            if PurePosixPath(file).name in ("config.json", "scheduler_config.json"):
                scheduler = PurePosixPath(file).name != "config.json"
                where = f"{checkpoint.name}/{file}"
                _check_table(read_json(local, file), checkpoint.of_component(name), where, scheduler=scheduler)


def refuse_packed(checkpoint: Checkpoint, names: Sequence[str]) -> None:
    """Refuse components whose weights another library has packed; nothing but their configurations is read.

    Base and suspect must share the very numbers that are computed with. `quantised` packs weights so; the classes of
    bitsandbytes, torchao and others do not (see there).

    Args:
        checkpoint: the checkpoint, which need not be downloaded yet.
        names: of its components.

    Raises:
        UserError: if one is packed.
    """
    for name in names:
        for file in checkpoint.components[name].extras:
            if PurePosixPath(file).name != "config.json":
                continue
            packed = read_json(checkpoint.listing, file).get("quantization_config")
            if packed:
                method = packed.get("quant_method") if isinstance(packed, dict) else packed
                raise UserError(
                    "families.packed_elsewhere", name=checkpoint.name, component=name, method=f"{method!s:.40}"
                )


def _check_table(table: dict[str, Any], tensors: Mapping[str, TensorInfo], name: str, *, scheduler: bool) -> None:
    widest = max((n for t in tensors.values() for n in t.shape), default=0)
    most = LONGEST_SCHEDULE if scheduler else max(LARGEST, widest)
    positions = POSITIONS if POSITIONS[0] in table else ()
    context = CONTEXT if ROTARY.match(str(table.get("model_type"))) else ()
    for key, value in _numbers(table):
        if key.endswith("_token_id"):  # the place of a word in the vocabulary: nothing is made of its size
            continue
        limit = max(DEEPEST, len(tensors)) if not scheduler and COUNTS.search(key) else most
        limit = max(WIDEST, isqrt(widest)) if key in positions else LONGEST_CONTEXT if key in context else limit
        if abs(value) > limit:
            raise UserError("families.setting_too_large", name=name, setting=key[:80], given=f"{value:.6g}", most=limit)


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Whole numbers of a configuration, with the names under which they stand."""
    if isinstance(value, dict):
        for inner, part in value.items():
            yield from _numbers(part, str(inner))
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part, key)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield key, value
