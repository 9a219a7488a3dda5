"""Depths, ranges and transparency: scaled or laid on white as the notes say, or refused; never black in silence."""

import numpy as np
import pytest
from PIL import Image

from cgidm.messages import Note
from cgidm.pictures import colours as module
from cgidm.pictures.decoding import decode_pixels
from tests.support.errors import refuses
from tests.support.picture_files import chunk, colours, encoded, picture, png_of_16_bits, tiff_with_tags

GREY = colours()[..., 1]  # 51 to 204
UNIT = GREY.astype(np.float32) / 255


def read(data):
    flat, _, notes = decode_pixels(data, "a.tif")
    return np.asarray(flat).astype(int), notes


def tiff(values):
    return encoded(Image.fromarray(values), "TIFF")


def test_floats_are_scaled_by_what_must_be_white():
    for top in (1, 255, 65535):
        found, notes = read(tiff(UNIT * np.float32(top)))
        assert np.abs(found - GREY[..., None]).max() <= 1
        (said,) = notes
        assert said.code == "pictures.scaled_floats" and said.params["white"] == top
        assert said.params["high"] == pytest.approx(0.8 * top, rel=1e-3)


def test_floats_that_ring_a_little_are_clipped():
    values = UNIT.copy()
    values[0, 0], values[0, 1] = -0.03, 1.04
    found, _ = read(tiff(values))
    assert found[0, 0, 0] == 0 and found[0, 1, 0] == 255 and np.abs(found[1:] - GREY[1:, :, None]).max() <= 1


def test_floats_whose_white_cannot_be_told_are_refused():
    for values in (UNIT * 4, UNIT * 40, UNIT - 1, UNIT * 1e6):
        with refuses("pictures.unknown_range"):
            read(tiff(values.astype(np.float32)))
    for odd in (np.nan, np.inf):
        values = UNIT.copy()
        values[3, 3] = odd
        with refuses("pictures.not_numbers", path="a.tif"):
            read(tiff(values))


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_few_bits_of_16_are_scaled_by_their_own_white(bits):
    values = (UNIT * (2**bits - 1)).round().astype(np.uint16)
    for data in (tiff(values), encoded(Image.fromarray(values))):
        found, notes = read(data)
        assert np.abs(found - GREY[..., None]).max() <= 1
        assert notes == [Note("pictures.scaled_few_bits", {"bits": bits})]


def test_a_dark_picture_of_16_bits_stays_dark():
    found, notes = read(tiff((UNIT * 16_000).round().astype(np.uint16)))
    assert found.max() == 50 and notes == [Note("pictures.scaled_16_bit")]


def test_white_may_be_zero():
    values = (UNIT * 65535).round().astype(np.uint16)
    inverted, _ = read(tiff_with_tags(Image.fromarray(65535 - values), tag262=0))
    assert np.abs(inverted - GREY[..., None]).max() <= 1


def test_whole_numbers_of_32_bits_are_scaled_or_refused():
    found, _ = read(tiff(GREY.astype(np.int32) * 257))
    assert np.abs(found - GREY[..., None]).max() <= 1
    for values in (GREY.astype(np.int32) - 100, GREY.astype(np.int32) * 70_000):
        with refuses("pictures.unknown_range"):
            read(tiff(values))


def test_transparency_is_named_only_where_it_changes_the_picture():
    opaque, hidden, white = (picture(mode="RGBA") for _ in range(3))
    hidden.putalpha(0)
    white.paste((255, 255, 255, 0), (0, 0, 32, 48))
    assert read(encoded(opaque))[1] == [] == read(encoded(white))[1]
    found, notes = read(encoded(hidden))
    assert (found == 255).all() and notes == [Note("pictures.transparency_on_white")]
    for kind, options in (("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        assert (read(encoded(hidden, kind, **options))[0] == 255).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L"])
def test_every_mode_of_transparency_is_laid_on_white(mode):
    if mode in ("LA", "RGBA"):
        image, options = picture(mode="RGBA"), {}
        image.putalpha(Image.fromarray(np.where(GREY > 120, 255, 0).astype(np.uint8)))
        image = image.convert(mode)
        clear = GREY <= 120
    else:
        values = np.where(GREY > 120, 9, 5).astype(np.uint8)
        image, options, clear = Image.fromarray(values), {"transparency": 5}, GREY <= 120
        if mode == "P":
            image = image.convert("P")
    found, notes = read(encoded(image, **options))
    assert (found[clear] == 255).all() and (found[~clear] < 255).any()
    assert notes == [Note("pictures.transparency_on_white")]


def test_one_deep_grey_may_be_transparent():
    values = np.where(GREY > 120, 40_000, 5_000).astype(np.uint16)
    found, notes = read(png_of_16_bits(values, 0, chunk(b"tRNS", (5_000).to_bytes(2, "big"))))
    assert (found[GREY <= 120] == 255).all() and (found[GREY > 120] == 156).all()
    assert [n.code for n in notes] == ["pictures.scaled_16_bit", "pictures.transparency_on_white"]


def test_bands_cover_a_picture_once(monkeypatch):
    whole = read(encoded(picture(mode="LA"), transparency=None))[0], read(tiff(UNIT))[0]
    monkeypatch.setattr(module, "BAND", 200)  # three rows of 64
    assert (read(encoded(picture(mode="LA"), transparency=None))[0] == whole[0]).all()
    assert (read(tiff(UNIT))[0] == whole[1]).all()
