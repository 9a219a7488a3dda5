"""Damage that a suspect's file must be refused for."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

DAMAGE = ("one tensor lost", "renamed", "transposed", "another base")


def damaged(path: Path, key: str, damage: str) -> None:
    """Damage the tensor whose name ends so; empty: the first matrix that is no square."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    (key,) = [k for k in state if k.endswith(key)] if key else [first_oblong(state)]
    tensor = state.pop(key)
    if damage == "renamed":
        state[f"{key}s"] = tensor
    elif damage == "transposed":
        assert tensor.shape[0] != tensor.shape[1], "to transpose a square is to change its numbers only"
        state[key] = tensor.transpose(0, 1).contiguous()
    save_file(state, path, metadata)


def first_oblong(state: dict[str, torch.Tensor]) -> str:
    """The first matrix that is no square: to transpose a square is to change its numbers only."""
    return next(k for k in sorted(state) if state[k].ndim > 1 and state[k].shape[0] != state[k].shape[1])
