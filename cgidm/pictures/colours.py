"""From the colours of a file to the 8-bit RGB that is judged: depth, transparency, other colour spaces.

A trainer reads a picture with Pillow's `convert("RGB")` (sd-scripts, the scripts of diffusers, ai-toolkit): 8 bits, no
colour profile, no transparency. The same is done here, with two exceptions, which the notes name. Deep numbers are
scaled, where Pillow clips them. Transparency is laid on white, as the picture looks on the web.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ..errors import UserError
from ..messages import Note, note

BAND = 1_000_000  # pixels that are converted at once, to need little memory
DEEP_MODES = ("I", "F")  # and I;16 in its byte orders: one number of more than 8 bits a pixel
DEPTHS = (8, 10, 12, 16)  # bits that whole numbers may use; 12 of 16 would be nearly black as 16
FLOAT_TOPS = (1.0, 255.0, 65535.0)  # white, in files of floats
LEAST_OF_TOP, MOST_OVER = 0.25, 0.05  # share of `white` that the brightest value reaches, and may exceed
SAMPLE_FORMAT, BITS, PHOTOMETRIC = 339, 258, 262  # tags of TIFF
WHITE = (255, 255, 255, 255)


def to_rgb(picture: Image.Image, path: str, notes: list[Note]) -> Image.Image:
    """Convert a loaded picture of any mode to RGB.

    Args:
        picture: the picture.
        path: what it is called, in errors.
        notes: what was done is added to them.

    Raises:
        UserError: if its numbers have no range that can be told.
    """
    if picture.mode in DEEP_MODES or picture.mode.startswith("I;"):
        return _from_deep(picture, path, notes)
    if picture.has_transparency_data:
        return _on_white(picture, notes)
    if picture.mode == "CMYK":
        notes.append(note("pictures.cmyk_without_profile"))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture that was opened, and not loaded, has 16 bits a channel, of which Pillow keeps the upper 8."""
    return any(";16" in str(tile[3]) for tile in getattr(picture, "tile", ())) and picture.mode[0] not in "IF"


def _on_white(picture: Image.Image, notes: list[Note]) -> Image.Image:
    """Lay a transparent picture on white; a note says so if that changes a pixel."""
    if picture.mode == "La":  # Pillow converts it to nothing but LA
        picture = picture.convert("LA")
    result, changed = Image.new("RGB", picture.size), False
    for box in _bands(picture.size):
        band = picture.crop(box).convert("RGBA")
        laid = Image.alpha_composite(Image.new("RGBA", band.size, WHITE), band).convert("RGB")
        changed = changed or laid.tobytes() != band.convert("RGB").tobytes()
        result.paste(laid, box)
    if changed:
        notes.append(note("pictures.transparency_on_white"))
    return result


def _from_deep(picture: Image.Image, path: str, notes: list[Note]) -> Image.Image:
    """Scale one number a pixel, whole or not, to 8 bits of grey."""
    boxes = list(_bands(picture.size))
    extremes = [(float(b.min()), float(b.max())) for b in (_numbers(picture, box) for box in boxes)]
    low, high = min(e[0] for e in extremes), max(e[1] for e in extremes)
    if not np.isfinite([low, high]).all():
        raise UserError("pictures.not_numbers", path=path)
    top = _float_top(low, high) if picture.mode == "F" else _whole_top(picture, low, high, notes)
    if top is None:
        raise UserError("pictures.unknown_range", path=path, low=low, high=high)
    if picture.mode == "F":
        notes.append(note("pictures.scaled_floats", low=low, high=high, white=top))
    hidden = picture.info.get("transparency")
    inverted = picture.mode.startswith("I;") and _tag(picture, PHOTOMETRIC) == 0  # white is zero: Pillow leaves it
    grey = Image.new("L", picture.size)
    for box in boxes:
        values = _numbers(picture, box)
        scaled = (values.clip(0, top) / top * 255).round().astype(np.uint8)
        if inverted:
            scaled = 255 - scaled
        if isinstance(hidden, int):
            scaled[values == hidden] = 255
        grey.paste(Image.fromarray(scaled), box)
    if isinstance(hidden, int) and any(e[0] <= hidden <= e[1] for e in extremes):
        notes.append(note("pictures.transparency_on_white"))
    return grey.convert("RGB")


def _whole_top(picture: Image.Image, low: float, high: float, notes: list[Note]) -> float | None:
    """The number that is white, of whole numbers; None if it cannot be told."""
    if low < 0 or high > 65535:
        return None
    if _tag(picture, SAMPLE_FORMAT) == 2 and _tag(picture, BITS) == 16 and high > 4095:  # signed: 15 bits are left
        depth = 15
    else:
        depth = next(d for d in DEPTHS if high < 2**d)
    notes.append(note("pictures.scaled_16_bit") if depth == 16 else note("pictures.scaled_few_bits", bits=depth))
    return 2.0**depth - 1


def _float_top(low: float, high: float) -> float | None:
    """The number that is white, of floats: 1, 255 or 65535; None if none of them fits."""
    for top in FLOAT_TOPS:
        if low >= -MOST_OVER * top and high <= (1 + MOST_OVER) * top:
            return top if top == 1 or high >= LEAST_OF_TOP * top else None
    return None


def _numbers(picture: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    return np.asarray(picture.crop(box)).astype(np.float64)


def _tag(picture: Image.Image, number: int) -> int | None:
    """The first number of a tag of a TIFF file."""
    value = getattr(picture, "tag_v2", {}).get(number)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else None


def _bands(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of whole rows that cover a picture from top to bottom."""
    width, height = size
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)
