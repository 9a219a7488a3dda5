"""Recipes of pictures: what phones, scanners, browsers and editors write, and folders of controls."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from tests.support.cases.given import Given
from tests.support.picture_files import display_p3, encoded, exif, picture, tiff, with_chunk

SIDE = 64  # of every picture: what the tiny networks see
RESOLUTION = b"\0\0\0\x48\0\0\0\x01"  # of 72 dots an inch, as EXIF data hold it
CONTROLS = 20
MACOS = b"\0\5\x16\7\0\2\0\0Mac OS X        "  # how AppleDouble's files begin
HEIC = b"\0\0\0\x28ftypheic\0\0\0\0mif1MiHEmiafMiHBheic" + b"\0\0\1\0meta" + bytes(200)


def upright() -> Image.Image:
    """The picture that nearly all files show: no two of its edges are alike."""
    return picture((SIDE, SIDE))


def turned(orientation: int) -> tuple[Image.Image, Any]:
    """The picture and its EXIF data, so that a reader who follows the tag sees it upright."""
    assert orientation == 6
    return upright().transpose(Image.Transpose.ROTATE_90), exif(orientation)


def grey() -> np.ndarray:
    """The picture's brightness, from 0 to 1."""
    return np.asarray(upright().convert("L")).astype(np.float32) / 255


def of_format(folder: Path, *, name: str, kind: str, mode: str = "RGB") -> Given:
    """A sound picture in a format and mode of Pillow."""
    image = upright().convert(mode)
    (folder / name).write_bytes(encoded(image, kind))
    return Given(folder / name, image.convert("RGB"))


def cut_off(folder: Path, *, share: float) -> Given:
    """A JPEG of which the end is missing."""
    data = encoded(upright(), "JPEG")
    (folder / "a.jpg").write_bytes(data[: int(share * len(data))])
    return Given(folder / "a.jpg")


def of_a_phone(folder: Path) -> Given:
    """The beginning of a HEIC picture, in which no picture follows."""
    (folder / "IMG_0001.HEIC").write_bytes(HEIC)
    return Given(folder / "IMG_0001.HEIC")


def with_exif(folder: Path, *, kind: str) -> Given:
    """A picture whose EXIF data are sound ("rotated"), damaged, or no EXIF data at all."""
    image, plain = upright(), encoded(upright())
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 4\nno hexadecimal")
    sideways, tags = turned(6)
    if kind == "fraction without a value":
        tags[282] = 72.0
        data = encoded(sideways, "JPEG", exif=tags)
        known = RESOLUTION if RESOLUTION in data else RESOLUTION[3::-1] + RESOLUTION[:3:-1]
        assert known in data
        data = data.replace(known, b"\xff\xff\xff\xff\0\0\0\0")
    elif kind == "numbers for a date":
        tags[306] = 7
        data = encoded(sideways, "JPEG", exif=tags)
    elif kind == "rotated":
        data = encoded(sideways, "JPEG", exif=tags)
    elif kind == "nothing but a name":
        data = encoded(image, "JPEG", exif=b"Exif\0\0")
    elif kind == "a chunk of garbage":
        data = with_chunk(plain, b"eXIf", b"garbage, and no TIFF directory")
    else:
        assert kind == "a text that is no hexadecimal"
        data = encoded(image, pnginfo=text)
    name = "a.png" if data.startswith(b"\x89PNG") else "a.jpg"
    (folder / name).write_bytes(data)
    return Given(folder / name, image)


def with_much_beside(folder: Path, *, kind: str, length: int) -> Given:
    """A PNG with compressed texts, or a colour profile, of so many bytes."""
    body = b"workflow\0\0" if kind == "zTXt" else b"of a scanner\0\0"
    (folder / "a.png").write_bytes(with_chunk(encoded(upright()), kind.encode(), body + zlib.compress(b" " * length)))
    return Given(folder / "a.png", upright())


def with_profile(folder: Path) -> Given:
    """A JPEG of a phone, in Display P3: trainers read its numbers as sRGB."""
    (folder / "a.jpg").write_bytes(encoded(upright(), "JPEG", icc_profile=display_p3(), quality=95))
    return Given(folder / "a.jpg", upright())


def with_hidden_colours(folder: Path) -> Given:
    """A PNG whose left half is transparent, and has colours below."""
    image, half = upright(), Image.new("L", (SIDE, SIDE), 255)
    half.paste(0, (0, 0, SIDE // 2, SIDE))
    hidden = image.copy()
    hidden.putalpha(half)
    (folder / "a.png").write_bytes(encoded(hidden))
    return Given(folder / "a.png", Image.composite(image, Image.new("RGB", image.size, "white"), half))


def with_second_picture(folder: Path, *, kind: str) -> Given:
    """A file of two pictures: a JPEG of a phone ("MPO"), or a TIFF whose second page is a palette ("TIFF")."""
    image = upright()
    if kind == "MPO":
        name, data = "a.jpg", encoded(image, "MPO", save_all=True, append_images=[image.rotate(180)])
    else:
        name, data = "a.tif", tiff(image, image.rotate(180).quantize(64), compression="tiff_lzw")
    (folder / name).write_bytes(data)
    return Given(folder / name, image)


def in_grey_of(folder: Path, *, kind: str) -> Given:
    """A grey picture with other numbers than bytes: 16 bits, 12 of 16 bits, or floats from 0 to 1."""
    name, most = {"16 bits": ("a.png", 65535), "12 of 16 bits": ("a.tif", 4095), "floats": ("a.tif", 1)}[kind]
    values = grey() * most
    image = Image.fromarray(values if most == 1 else values.round().astype(np.uint16))
    (folder / name).write_bytes(encoded(image, "PNG" if name.endswith("png") else "TIFF"))
    return Given(folder / name, upright().convert("L").convert("RGB"))


def in_lab(folder: Path) -> Given:
    """A scanner's TIFF, in LAB."""
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(upright(), *profiles, outputMode="LAB")
    assert lab is not None
    (folder / "a.tif").write_bytes(encoded(lab, "TIFF"))
    return Given(folder / "a.tif", upright())


def of_one_colour(folder: Path) -> Given:
    """A white picture."""
    white = Image.new("RGB", (SIDE, SIDE), "white")
    (folder / "white.png").write_bytes(encoded(white))
    return Given(folder / "white.png", white)


def under_a_name(folder: Path, *, name: str, repeated: int = 1) -> Given:
    """A sound PNG whose name is `name`, so many times over."""
    (folder / f"{name * repeated}.png").write_bytes(encoded(upright()))
    return Given(folder / f"{name * repeated}.png", upright())


def controls(folder: Path, *, suffix: str = "jpg", of_another: int = 0, of_macos: bool = False) -> Given:
    """A folder of 20 controls; some perhaps with the suffix .jpg instead, or with a file of macOS beside each."""
    for number in range(CONTROLS):
        name = f"{number:02}.{'jpg' if number < of_another else suffix}"
        (folder / name).write_bytes(encoded(other_picture(number), "JPEG", quality=95))
        if of_macos:
            (folder / f"._{name}").write_bytes(MACOS + struct.pack(">H", 0) + bytes(120))
    return Given(folder)


def other_picture(number: int) -> Image.Image:
    """Smooth random colours."""
    coarse = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


RECIPES = {
    "picture": of_format,
    "picture cut off": cut_off,
    "beginning of a HEIC picture": of_a_phone,
    "picture with EXIF": with_exif,
    "PNG with much beside its pixels": with_much_beside,
    "JPEG in Display P3": with_profile,
    "PNG with hidden colours": with_hidden_colours,
    "file of two pictures": with_second_picture,
    "grey picture": in_grey_of,
    "TIFF in LAB": in_lab,
    "picture of one colour": of_one_colour,
    "picture under a name": under_a_name,
    "controls": controls,
}
