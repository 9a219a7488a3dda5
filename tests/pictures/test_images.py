"""Whatever somebody uploads: decoded rightly, or refused in one line."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from cgidm import UserError
from cgidm.pictures.images import decode_picture, read_picture


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(size=(64, 64), colour=(200, 100, 50)):
    return Image.new("RGB", size, colour)


def png_header_of(width, height):
    """A PNG that claims a size and holds no pixels: a decompression bomb's first bytes."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


REFUSED = {
    "text": b"this is not a picture",
    "empty": b"",
    "truncated": encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")[
        :900
    ],
    "bomb": png_header_of(60_000, 60_000),
    "large": png_header_of(16_000, 16_000),
    "1x1": encoded(plain((1, 1))),
    "20000x10": encoded(plain((20_000, 10))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_that_says_what_is_accepted(name):
    with pytest.raises(UserError, match="accepted") as error:
        decode_picture(REFUSED[name], f"{name}.png", 64)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{name}.png")


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(UserError, match="accepted"):
            read_picture(path, 64)


def mean_colour(data):
    picture = decode_picture(data, "x", 32)
    assert picture.image.shape == (3, 32, 32) and picture.image.min() >= 0 and picture.image.max() <= 1
    return picture.image.mean((1, 2)), picture.notes


def test_plain_pictures_keep_their_colour():
    colour, notes = mean_colour(encoded(plain()))
    torch.testing.assert_close(colour, torch.tensor([200, 100, 50]) / 255)
    assert notes == ()


def test_animated_gif_uses_its_first_frame_and_says_so():
    data = encoded(plain(colour=(255, 0, 0)), "GIF", save_all=True, append_images=[plain(colour=(0, 0, 255))])
    colour, notes = mean_colour(data)
    assert colour[0] > 0.9 and colour[2] < 0.1 and "first" in notes[0]


def test_cmyk_is_converted():
    colour, notes = mean_colour(encoded(plain().convert("CMYK"), "JPEG"))
    torch.testing.assert_close(colour, torch.tensor([200, 100, 50]) / 255, atol=0.03, rtol=0)
    assert "CMYK" in notes[0]


def test_16_bit_values_are_scaled_not_clipped():
    values = np.full((64, 64), 32768, np.uint16)
    colour, notes = mean_colour(encoded(Image.fromarray(values)))
    torch.testing.assert_close(colour, torch.full((3,), 0.5), atol=0.01, rtol=0)
    assert "16-bit" in notes[0]


def test_transparency_is_laid_on_white_even_in_a_palette():
    layer = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    palette = Image.new("P", (64, 64), 0)
    palette.putpalette([255, 0, 0] + [0, 0, 0] * 255)
    for data in (encoded(layer), encoded(palette, transparency=0)):
        colour, notes = mean_colour(data)
        assert (colour == 1).all() and "white" in notes[0]


def test_exif_rotation_is_applied():
    picture = plain((64, 64), (0, 0, 0))
    picture.paste((255, 255, 255), (0, 0, 64, 32))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image = decode_picture(encoded(picture, "JPEG", exif=exif, quality=95), "x", 64).image
    assert image[:, :24].mean() < 0.05 and image[:, 40:].mean() > 0.95


def test_the_hash_is_of_the_bytes_and_the_square_is_the_centre():
    picture = plain((128, 64), (0, 0, 0))
    picture.paste((255, 255, 255), (32, 0, 96, 64))
    a = decode_picture(encoded(picture), "a", 64)
    assert a.image.min() > 0.99 and "128x64" in a.notes[0]
    assert a.sha256 != decode_picture(encoded(picture, compress_level=0), "a", 64).sha256
