"""Downloaded files of Civitai, in the Hub's cache: `<cache>/<SHA-256>/<name>`, and what was stated of the version.

With `version-<number>.json` in the same folder a run can be repeated without a network.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from ...files import write_atomically
from .answers import CivitaiError


def cache_folder() -> Path:
    """The folder of all downloads, which may not exist yet."""
    return Path(constants.HF_HUB_CACHE) / "civitai"  # where a person or an operator wants downloads to lie


def find_cached(digest: str | None, name: str) -> Path | None:
    """Return the downloaded file of this SHA-256 and name; it was hashed when it arrived."""
    path = cache_folder() / (digest or "-") / name
    return path if path.is_file() else None


def store_description(folder: Path, version: int, answer: Mapping[str, Any]) -> None:
    """Keep what the site states of a version beside its downloaded file, without pictures."""
    kept = {name: value for name, value in answer.items() if name not in ("images", "description")}
    write_atomically(folder / f"version-{version}.json", json.dumps(kept))


def find_description(version: int) -> Any:
    """Return what the site stated of a version when a file of it was downloaded; None if none was."""
    for path in cache_folder().glob(f"*/version-{version}.json"):
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
    return None


def store(pieces: Iterable[bytes], name: str, size: int, stated: Mapping[str, str]) -> Path:
    """Write a file, hashing it as it arrives, and keep it only if it is what was stated.

    AutoV2 is the beginning of the SHA-256. AutoV3 is not compared: some files bring their own in their notes.

    Args:
        pieces: its bytes, in order.
        name: its name.
        size: the bytes that it must have; what comes after them is not read.
        stated: its digests as Civitai states them: "SHA256", "AutoV2".

    Raises:
        CivitaiError: if it has another size or digest; nothing is kept then.
    """
    folder, hasher, count = cache_folder(), hashlib.sha256(), 0
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as room:
        part = Path(room) / "part"
        with part.open("wb") as file:
            for piece in pieces:
                count += len(piece)
                if count > size:
                    break
                hasher.update(piece)
                file.write(piece)
        digest = hasher.hexdigest()
        if count != size:
            raise CivitaiError("intake.civitai_other_size", name=name, bytes=size)
        if stated.get("SHA256", digest) != digest or not digest.startswith(stated.get("AutoV2", "")):
            raise CivitaiError("intake.civitai_damaged", name=name)
        target = folder / digest / name
        target.parent.mkdir(exist_ok=True)
        os.replace(part, target)
    return target
