"""Downloaded files of Civitai: `<cache>/<SHA-256>/<name>`, beside the Hub's cache."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub import constants

from .answers import CivitaiError


def cache_folder() -> Path:
    """The folder of all downloads, which may not exist yet."""
    return Path(constants.HF_HUB_CACHE).parent / "civitai"


def find_cached(digest: str | None, name: str) -> Path | None:
    """Return the downloaded file of this SHA-256 and name; it was hashed when it arrived."""
    path = cache_folder() / (digest or "-") / name
    return path if path.is_file() else None


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
