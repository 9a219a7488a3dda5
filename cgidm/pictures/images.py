"""A file that somebody gave us -> a square RGB tensor, or one sentence that says why not."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import UserError
from .credentials import credential_notes

ACCEPTED = "accepted: a PNG, JPEG, WebP, GIF, BMP or TIFF picture from 32 to 16,384 pixels a side"
MIN_SIDE, MAX_SIDE = 32, 16_384
MAX_PIXELS = 100_000_000
MAX_BYTES = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as it was given and as the method sees it."""

    name: str
    sha256: str  # of the file's bytes, unaltered
    image: Float[Tensor, "3 H W"]  # the centre square in [0, 1]
    notes: tuple[str, ...] = ()  # what was done to it, in words


def picture_files(folder: Path, role: str) -> list[Path]:
    """The picture files of a folder, in the order of their names.

    Raises:
        UserError: if it is no folder, or holds none.
    """
    if not folder.is_dir():
        raise UserError(f"{role} {folder} is not a folder; accepted: a folder of picture files")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{role} {folder} holds no picture; accepted: {', '.join(sorted(SUFFIXES))} files")
    return files


def read_picture(path: Path, side: int) -> Picture:
    """Read a file and decode it.

    Raises:
        UserError: if it is missing, a folder, too large, or not a picture that can be used.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; {ACCEPTED}: name the files in it")
    if not path.exists():
        raise UserError(f"{path} does not exist; {ACCEPTED}")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes; accepted: at most {MAX_BYTES:,}")
    return decode_picture(path.read_bytes(), str(path), side)


def decode_picture(data: bytes, name: str, side: int) -> Picture:
    """Decode bytes: EXIF rotation applied, transparency laid on white, 16 bits scaled to 8, centre square resized.

    Raises:
        UserError: with one line that says what was given and what is accepted.
    """
    if not data:
        raise UserError(f"{name} is empty (0 bytes); {ACCEPTED}")
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(picture, name)
            picture.load()
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{name} holds more pixels than is safe to open ({error}); {ACCEPTED}") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name} is not a picture that can be read; {ACCEPTED}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{name} is damaged or cut off ({error}); {ACCEPTED}") from error

    if getattr(picture, "n_frames", 1) > 1:
        notes.append(f"{picture.n_frames} frames: only the first is used")  # type: ignore[attr-defined]
    rotated = ImageOps.exif_transpose(picture)
    if rotated.size != picture.size or picture.getexif().get(0x0112, 1) != 1:
        notes.append("rotated as its EXIF tag says")
    flat = _to_rgb(rotated, notes)
    short = min(flat.size)
    left, top = (flat.width - short) // 2, (flat.height - short) // 2
    if flat.width != flat.height:
        notes.append(f"centre square of {flat.width}x{flat.height} used")
    square = flat.crop((left, top, left + short, top + short))
    square = square.resize((side, side), Image.Resampling.LANCZOS)
    notes += credential_notes(data, picture.format or "")
    return Picture(name, hashlib.sha256(data).hexdigest(), as_tensor(square), tuple(notes))


def as_tensor(square: Image.Image) -> Float[Tensor, "3 H W"]:
    """An RGB picture of 8 bits as the method sees it, in [0, 1]."""
    return torch.from_numpy(np.array(square)).movedim(-1, 0).float() / 255


def _check_size(picture: Image.Image, name: str) -> None:
    width, height = picture.size
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UserError(f"{name} is {width}x{height} pixels; {ACCEPTED}, {MAX_PIXELS:,} in all")


def _to_rgb(picture: Image.Image, notes: list[str]) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if values.max() > 255 else 255.0
        notes.append("16-bit values scaled to 8 bits")
        return Image.fromarray((values.clip(0, top) / top * 255).round().astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        notes.append("transparency laid on white")
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if picture.mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
    return picture.convert("RGB")
