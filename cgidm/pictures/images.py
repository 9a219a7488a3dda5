"""Picture files: from the bytes that somebody gave to an RGB tensor, or one sentence that says why not."""

import hashlib
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..framing.frame import CentreSquare, Frame, Framing, Resample
from ..messages import Note, note
from .credentials import credential_notes
from .decoding import decode_pixels

MAX_BYTES = 100_000_000
RESAMPLING: dict[Resample, Image.Resampling] = {
    "area": Image.Resampling.BOX,  # the mean over each cell, as OpenCV's INTER_AREA
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, as it was given and as the method sees it."""

    name: str
    sha256: str  # of the file's bytes, unaltered
    image: Float[Tensor, "3 H W"] = field(repr=False)  # in [0, 1], framed
    notes: tuple[Note, ...] = ()  # what was done to it, and what it resembles
    frame: Frame | None = None  # which part of the file it is, at which size; None: not known
    square: Float[Tensor, "3 S S"] | None = field(
        default=None, repr=False
    )  # the centre square of the file, where `image` is not square


def read_picture(path: str | Path, framing: Framing | int) -> Picture:
    """Read a file, decode it, and frame it as a trainer would.

    Args:
        path: the file.
        framing: which part of the picture is used, and at which size (`ModelPair.framing`); a number: the centre
            square of so many pixels.

    Raises:
        UserError: if it is missing, a folder, too large, or not a picture that can be used.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError("pictures.is_a_folder", path=str(path))
    if not path.exists():
        raise UserError("pictures.missing", path=str(path))
    if not path.is_file():  # a pipe or device may never end
        raise UserError("pictures.no_file", path=str(path))
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError("pictures.too_large", path=str(path), bytes=size, most=MAX_BYTES)
    return decode_picture(path.read_bytes(), str(path), framing)


def decode_picture(data: bytes, name: str, framing: Framing | int) -> Picture:
    """Decode the bytes of a picture file.

    Its EXIF rotation is applied, transparency laid on white, 16 bits scaled to 8; then it is framed. The notes say so.

    Args:
        data: the file's bytes.
        name: what the picture is called, in the result and in errors.
        framing: see `read_picture`.

    Raises:
        UserError: if it is not a picture that can be used.
    """
    flat, picture_format, notes = decode_pixels(data, name)
    framing = CentreSquare(resolution=framing) if isinstance(framing, int) else framing
    frame = framing.frame(*flat.size)
    framed = apply_frame(flat, frame)
    square = _square(flat, isqrt(framing.most_pixels)) if framed.width != framed.height else None
    notes += frame_notes(frame)
    notes += credential_notes(data, picture_format)
    return Picture(name, hashlib.sha256(data).hexdigest(), from_uint8(np.array(framed)), tuple(notes), frame, square)


def apply_frame(picture: Image.Image, frame: Frame) -> Image.Image:
    """Cut, scale and cut a picture as its frame says."""
    left, top, width, height = frame.cut
    part = picture.crop((left, top, left + width, top + height))
    across, down = width / frame.scaled[0], height / frame.scaled[1]
    (x, y), (wide, high) = frame.corner, frame.size
    seen = x * across, y * down, (x + wide) * across, (y + high) * down  # only this is scaled: a strip would be huge
    if frame.scaled == part.size:
        return part.crop((x, y, x + wide, y + high))
    return part.resize(frame.size, RESAMPLING[frame.resample], box=seen)


def _square(picture: Image.Image, resolution: int) -> Float[Tensor, "3 S S"]:
    """The centre square, at the resolution whose buckets the frame is one of."""
    frame = CentreSquare(resolution=resolution).frame(*picture.size)
    return from_uint8(np.array(apply_frame(picture, frame)))


def frame_notes(frame: Frame) -> tuple[Note, ...]:
    """What is not looked at; nothing where a square picture stays one."""
    width, height = frame.original
    if width == height and frame.lost == 0:
        return ()
    if frame.size == frame.scaled and frame.size[0] == frame.size[1]:
        return (note("pictures.centre_square", width=width, height=height),)
    sizes = {"width": width, "height": height, "frame_width": frame.size[0], "frame_height": frame.size[1]}
    return (note("pictures.framed", **sizes, lost=frame.lost),)


def to_uint8(images: Float[Tensor, "*b 3 H W"]) -> UInt8[np.ndarray, "*b H W 3"]:
    """Pictures in [0, 1] as 8-bit values, channels last, as files hold them and Pillow takes them."""
    return (images.clamp(0, 1) * 255).round().byte().movedim(-3, -1).cpu().numpy()


def from_uint8(pixels: UInt8[np.ndarray, "*b H W 3"]) -> Float[Tensor, "*b 3 H W"]:
    """8-bit pictures, channels last, as tensors in [0, 1]."""
    return torch.from_numpy(pixels).movedim(-1, -3).float() / 255
