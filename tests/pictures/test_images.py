"""Whatever somebody uploads: decoded rightly, or refused in one sentence."""

import io
import resource
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from cgidm.framing.frame import Frame
from cgidm.framing.kohya import Kohya
from cgidm.messages import Note
from cgidm.pictures.decoding import picture_size
from cgidm.pictures.images import apply_frame, decode_picture, from_uint8, read_picture, to_uint8
from tests.support.errors import refuses


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(size=(64, 64), colour=(200, 100, 50)):
    return Image.new("RGB", size, colour)


def png_header_of(width, height):
    """A PNG that claims a size and holds no pixels: a decompression bomb's first bytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
REFUSED = {
    "text": (b"this is not a picture", "other_kind"),
    "empty": (b"", "empty"),
    "truncated": (encoded(Image.fromarray(NOISE), "JPEG")[:900], "damaged"),
    "bomb": (png_header_of(60_000, 60_000), "too_many_pixels"),
    "large": (png_header_of(16_000, 16_000), "too_many_pixels"),
    "1x1": (encoded(plain((1, 1))), "wrong_size"),
    "20000x10": (encoded(plain((20_000, 10))), "wrong_size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence(name):
    data, code = REFUSED[name]
    with refuses(f"pictures.{code}", path=f"{name}.png") as error:
        decode_picture(data, f"{name}.png", 64)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{name}.png")


def test_a_sentence_says_what_was_given_and_what_is_expected():
    with refuses("pictures.wrong_size", width=20_000, height=10) as error:
        decode_picture(REFUSED["20000x10"][0], "a.png", 64)
    assert "expected 32 to 16,384 pixels a side, got 20000 x 10" in str(error.value)


def test_a_folder_a_missing_and_a_large_file_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(plain()))
    monkeypatch.setattr("cgidm.pictures.images.MAX_BYTES", 9)
    for name, code in ((".", "is_a_folder"), ("missing.png", "missing"), ("a.png", "too_large")):
        with refuses(f"pictures.{code}", path=str(tmp_path / name)):
            read_picture(tmp_path / name, 64)


def test_8_bit_values_survive_both_ways():
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(to_uint8(from_uint8(every)), every)
    two = torch.stack([from_uint8(every), from_uint8(every[::-1].copy()) + 0.001])
    assert to_uint8(two).shape == (2, 16, 16, 3) and to_uint8(two - 9).max() == 0 and to_uint8(two + 9).min() == 255
    np.testing.assert_array_equal(to_uint8(two)[1], every[::-1])


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
    assert colour[0] > 0.9 and colour[2] < 0.1 and notes == (Note("pictures.frames", {"count": 2}),)


def test_cmyk_is_converted():
    colour, notes = mean_colour(encoded(plain().convert("CMYK"), "JPEG"))
    torch.testing.assert_close(colour, torch.tensor([200, 100, 50]) / 255, atol=0.03, rtol=0)
    assert notes == (Note("pictures.cmyk_without_profile"),)


def test_16_bit_values_are_scaled_not_clipped():
    values = np.full((64, 64), 32768, np.uint16)
    colour, notes = mean_colour(encoded(Image.fromarray(values)))
    torch.testing.assert_close(colour, torch.full((3,), 0.5), atol=0.01, rtol=0)
    assert notes == (Note("pictures.scaled_16_bit"),)


def test_transparency_is_laid_on_white_even_in_a_palette():
    layer = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    palette = Image.new("P", (64, 64), 0)
    palette.putpalette([255, 0, 0] + [0, 0, 0] * 255)
    for data in (encoded(layer), encoded(palette, transparency=0)):
        colour, notes = mean_colour(data)
        assert (colour == 1).all() and notes == (Note("pictures.transparency_on_white"),)


def test_exif_rotation_is_applied():
    picture = plain((64, 64), (0, 0, 0))
    picture.paste((255, 255, 255), (0, 0, 64, 32))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    decoded = decode_picture(encoded(picture, "JPEG", exif=exif, quality=95), "x", 64)
    image = decoded.image
    assert decoded.notes == (Note("pictures.rotated"),)
    assert image[:, :24].mean() < 0.05 and image[:, 40:].mean() > 0.95


def test_the_hash_is_of_the_bytes_and_the_square_is_the_centre():
    picture = plain((128, 64), (0, 0, 0))
    picture.paste((255, 255, 255), (32, 0, 96, 64))
    a = decode_picture(encoded(picture), "a", 64)
    assert a.image.min() > 0.99 and a.notes == (Note("pictures.centre_square", {"width": 128, "height": 64}),)
    assert a.sha256 != decode_picture(encoded(picture, compress_level=0), "a", 64).sha256


def test_the_size_of_a_file_is_read_from_its_header():
    file = io.BytesIO()
    Image.new("RGB", (40, 60)).save(file, "PNG")
    assert picture_size(file.getvalue()) == (40, 60) and picture_size(b"hello") == picture_size(b"") == (0, 0)


def test_a_frame_is_cut_scaled_and_cut_again():
    """A picture of one colour a quarter, in a frame that loses its left half and its rim."""
    pixels = np.zeros((80, 120, 3), np.uint8)
    pixels[:40, 60:] = 255, 0, 0
    pixels[40:, 60:] = 0, 0, 255
    cut = (60, 0, 60, 80)
    frame = Frame(original=(120, 80), cut=cut, scaled=(30, 40), corner=(5, 4), size=(16, 32), resample="area")
    found = np.asarray(apply_frame(Image.fromarray(pixels), frame))
    assert found.shape == (32, 16, 3)
    assert (found[:16] == (255, 0, 0)).all() and (found[16:] == (0, 0, 255)).all()
    assert frame.lost == pytest.approx(1 - 0.5 * (16 * 32) / (30 * 40))


def test_a_framed_picture_says_what_was_cut_off():
    file = io.BytesIO()
    Image.new("RGB", (200, 300)).save(file, "PNG")
    rule = Kohya(resolution=(128, 128), least_side=64, most_side=256, step=16)
    picture = decode_picture(file.getvalue(), "mine.png", rule)
    assert picture.image.shape == (3, 160, 96) and picture.frame == rule.frame(200, 300)
    (said,) = picture.notes
    assert said.code == "pictures.framed" and "96 x 160 pixels of 200 x 300" in str(said)
    square = decode_picture(file.getvalue(), "mine.png", 64)
    assert [n.code for n in square.notes] == ["pictures.centre_square"]


def test_a_narrow_strip_is_framed_without_a_huge_picture_between():
    """Scaled to the width of its bucket, this strip would have 500 times as many pixels as it keeps."""
    rule = Kohya(resolution=(2048, 2048), buckets=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    framed = apply_frame(Image.new("RGB", (32, 16_000)), rule.frame(32, 16_000))
    assert framed.size == (2048, 2048)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes
