"""Seeded damage to whole models: one JSON value or one safetensors header of a tiny pipeline is changed at random."""

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import tiny, tiny_families

FAMILIES: dict[str, Callable[[], Any]] = {
    "SD 1.x": tiny.stable_diffusion,
    "SD 2.x": tiny_families.stable_diffusion_2,
    "SDXL": tiny_families.stable_diffusion_xl,
    "SD 3": tiny_families.stable_diffusion_3,
    "AltDiffusion": tiny_families.alt_diffusion,
    "pixel DDPM": tiny.pixel_ddpm,
}
NETWORKS = ("unet", "transformer", "text_encoder", "text_encoder_2")
VALUES = (  # what stands in place of a value
    *(None, True, False, 0, -1, 1, 3, 1.5, -0.5, 1e308, 10**9, 2**31, 2**63, 10**30),
    *("", "a", "null", "\ud7ff\u0000\n", "x" * 1000, [], {}, [None], [[[]]], [1, "a", None], {"a": {"b": []}}),
    *([2] * 1000, list(range(20)), "../../etc/passwd", ["diffusers", "UNet2DConditionModel"], [None, None]),
)
HEADERS = 0.3  # share of the cases that change a safetensors header


@dataclass(frozen=True)
class Mutation:
    """One damaged model: the folder, what it is offered as, and what was changed."""

    family: str
    role: str  # "base" or "suspect"
    folder: Path
    change: str


def save_families(folder: Path) -> None:
    """Write each family's base, and a fine-tune of it, into `folder`."""
    for name, make in FAMILIES.items():
        pipeline = make()
        pipeline.save_pretrained(folder / name / "base")
        for part in NETWORKS:
            if getattr(pipeline, part, None) is not None:
                tiny.perturbed(getattr(pipeline, part))
        pipeline.save_pretrained(folder / name / "suspect")


def make_mutations(saved: Path, work: Path, count: int, seed: int = 0) -> Iterator[Mutation]:
    """Damage `count` models in turn, in the one folder `work`, which each takes over from the one before."""
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        family, role = rng.choice(list(FAMILIES)), rng.choice(("base", "suspect", "suspect"))
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(saved / family / role, work, copy_function=os.link)
        if rng.random() < HEADERS:
            file = rng.choice(sorted(work.rglob("*.safetensors")))
            change = change_header(file, rng)
        else:
            file = rng.choice(sorted(work.rglob("*.json")))
            table = json.loads(file.read_text())
            change = _change_value(table, rng)
            file.unlink()  # it is linked: the original stays
            file.write_text(json.dumps(table))
        yield Mutation(family, role, work, f"{file.relative_to(work)}: {change}")


def _change_value(table: Any, rng: random.Random) -> str:
    """Change one value somewhere inside, in place."""
    inside, path = table, []
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return "nothing"
        key = rng.choice(keys)
        path.append(str(key)[:40])
        if isinstance(inside[key], dict | list) and inside[key] and rng.random() < 0.6:
            inside = inside[key]
            continue
        break
    kind = rng.choice(("remove", "replace", "replace", "replace", "scale", "add"))
    number = isinstance(inside[key], int | float) and not isinstance(inside[key], bool)
    if kind == "remove":
        del inside[key]
    elif kind == "scale" and number:
        inside[key] *= rng.choice((-1, 0, 2, 10, 1000))
    elif kind == "add" and isinstance(inside, dict):
        inside[rng.choice(("x", "num_layers", "_class_name", "quantization_config", "auto_map"))] = rng.choice(VALUES)
    else:
        inside[key] = value = rng.choice(VALUES)
        return f"{'/'.join(path)} = {value!r:.60}"
    return f"{kind} {'/'.join(path)}"


def change_header(file: Path, rng: random.Random) -> str:
    """Change the header of a safetensors file, or cut the file off."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    kind = rng.choice(("value", "value", "value", "length", "bytes", "cut"))
    if kind == "value":
        table = json.loads(header)
        change = _change_value(table, rng)
        header = json.dumps(table).encode()
        length = len(header)
    elif kind == "length":
        length = rng.choice((0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1, rng.randrange(2**64)))
        change = f"length {length}"
    elif kind == "bytes":
        at = rng.randrange(len(header))
        header = header[:at] + rng.randbytes(rng.choice((1, 2, 8))) + header[at + 1 :]
        length, change = len(header), f"bytes at {at}"
    else:
        rest = rest[: rng.randrange(len(rest))]
        change = f"{len(rest)} bytes of data"
    file.unlink()
    file.write_bytes(struct.pack("<Q", length) + header + rest)
    return change
