"""The hashes by which places name a model's file, from its SHA-256 and its bytes.

SHA-256 is that of the whole file. AutoV2 is the beginning of it. AutoV3 leaves the header of a safetensors file out, so
that it stays when notes are edited: the beginning of the SHA-256 of what follows the header
(`addnet_hash_safetensors` of kohya-ss/sd-scripts, https://github.com/kohya-ss/sd-scripts/pull/102). Some files state an
AutoV3 in their notes (`sshs_model_hash`), and Civitai may list that one.
"""

import hashlib
from pathlib import Path

from ...errors import UserError

AUTOV2_DIGITS, AUTOV3_DIGITS = 10, 12
CHUNK = 1 << 20


def short_hash(sha256: str) -> str:
    """Return the AutoV2 of a file, as Civitai writes it."""
    return sha256[:AUTOV2_DIGITS].upper()


def hash_weights(path: Path) -> tuple[str, str]:
    """Compute the SHA-256 of a safetensors file and its AutoV3.

    Raises:
        UserError: if it is missing, or no safetensors file.
    """
    whole, weights = hashlib.sha256(), hashlib.sha256()
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > size - 8:
                raise UserError("evidence.export.no_safetensors", path=str(path))
            whole.update(start)
            left = length
            while left and (part := file.read(min(CHUNK, left))):
                whole.update(part)
                left -= len(part)
            while part := file.read(CHUNK):
                whole.update(part)
                weights.update(part)
    except OSError as error:
        raise UserError("evidence.export.unreadable", path=str(path), problem=error.strerror) from error
    return whole.hexdigest(), weights.hexdigest()[:AUTOV3_DIGITS].upper()
