"""Recipes of files that are no weights, or whose header is damaged; and the list of all recipes."""

import io
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.cases import adapters, models, pictures
from tests.support.cases.given import Given, Recipe

FILE = "model.safetensors"
TENSOR = "lora_unet_conv_in.lora_down.weight"


def something_else(folder: Path, *, kind: str) -> Given:
    """What is saved as .safetensors by mistake: a pointer of Git LFS, a web page, a pickle of torch."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(zipfile.ZipInfo("archive/data.pkl"), models.PICKLE)
    data = {
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 14\n",
        "web page": b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in first</body></html>",
        "pickle": archive.getvalue(),
    }[kind]
    (folder / FILE).write_bytes(data)
    return Given(folder / FILE)


def header_alone(
    folder: Path, *, names: Sequence[str] = (TENSOR,), metadata: Mapping[str, Any] | None = None, lost_bytes: int = 0
) -> Given:
    """A safetensors file of small tensors of zeros: of any names, with any metadata, perhaps cut off."""
    places = {n: [16 * i, 16 * i + 16] for i, n in enumerate(names)}
    table: dict[str, Any] = {n: {"dtype": "F32", "shape": [2, 2], "data_offsets": place} for n, place in places.items()}
    header = json.dumps(table | ({} if metadata is None else {"__metadata__": metadata})).encode()
    (folder / FILE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(16 * len(names) - lost_bytes))
    return Given(folder / FILE)


RECIPES: dict[str, Recipe] = {
    "file that is something else": something_else,
    "file of zeros": header_alone,
    **adapters.RECIPES,
    **models.RECIPES,
    **pictures.RECIPES,
}
