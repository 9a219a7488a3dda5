"""Seeded damage to adapters of flow transformers: a header or one tensor of a file is changed at random."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.support.adapter_files import LORA
from tests.support.damaged_models import change_header
from tests.support.flow_formats import FLOW_FORMATS
from tests.support.flow_networks import tiny_transformer

HEADERS = 0.5  # share of the cases that change the header's bytes
ENDS = (".alpha", ".lora_A.weight", ".lora_down.weight", ".lokr_w1", ".dora_scale", ".diff_b", ".weight", "")
NOTES: tuple[dict[str, str], ...] = (
    {"lora_adapter_metadata": "{}"},
    {"lora_adapter_metadata": "[" * 2000},
    {"lora_adapter_metadata": '{"transformer.r": 1e999, "transformer.lora_alpha": "x"}'},
    {"ss_network_alpha": "nan", "ss_network_dim": "0"},
    {"ss_network_args": '{"split_qkv": true, "rs_lora": []}'},
    {"lora_alpha": "-1", "r": "0"},
)


@dataclass(frozen=True)
class AdapterMutation:
    """One damaged adapter: its file, the family that it is for, and what was changed."""

    family: str
    file: Path
    change: str


def make_adapter_mutations(folder: Path, count: int, seed: int = 0) -> Iterator[AdapterMutation]:
    """Damage `count` adapters in turn, each of a format drawn from the table, in the one file that they share."""
    work = folder / "case" / LORA
    work.parent.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        at = rng.randrange(len(FLOW_FORMATS))
        form, sound = FLOW_FORMATS[at], folder / "sound" / str(at)
        if not (sound / LORA).exists():
            form.write(sound, tiny_transformer(form.family))
        work.unlink(missing_ok=True)
        shutil.copy(sound / LORA, work)
        change = change_header(work, rng) if rng.random() < HEADERS else _change_tensor(work, rng)
        yield AdapterMutation(form.family, work, f"{form.name}, {change}")


def _change_tensor(file: Path, rng: random.Random) -> str:
    """Change one tensor of the file, its name, or the header's texts."""
    state: dict[str, Any] = load_file(file)
    key = rng.choice(sorted(state))
    kind = rng.choice(("rename", "lose", "value", "type", "shape", "twice", "notes"))
    notes = None
    if kind == "rename":
        state[key.rpartition(".")[0] + rng.choice(ENDS)] = state.pop(key)
    elif kind == "lose":
        del state[key]
    elif kind == "value":
        state[key] = torch.full_like(state[key], rng.choice((float("nan"), float("inf"), 0.0, 1e30, -1.0)))
    elif kind == "type":
        state[key] = state[key].to(rng.choice((torch.int8, torch.float64, torch.bfloat16, torch.bool, torch.int64)))
    elif kind == "shape":
        shape = rng.choice(((), (0,), (1,), (1, 1), (3, 5), (2, 2, 2), (1, 2, 3, 4, 5)))
        state[key] = torch.ones(shape)
    elif kind == "twice":
        state["diffusion_model." + key] = state[key].clone()
    else:
        notes = rng.choice(NOTES)
    file.unlink()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file, notes)
    return f"{kind} {key:.60}"
