"""Every format is read alike; what its file says beside its pixels neither stops nor bends the reading."""

import io
import resource
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cgidm.errors import UserError
from cgidm.messages import english
from cgidm.pictures import decoding, formats
from cgidm.pictures.images import decode_picture, to_uint8
from tests.support.errors import refuses
from tests.support.picture_files import (
    SIZE,
    chunk,
    colours,
    display_p3,
    encoded,
    every_picture_file,
    exif,
    picture,
    png_of_16_bits,
    tiff_with_tags,
    with_chunk,
)

FILES = every_picture_file()
UPRIGHT = [name for name in FILES if "exif" not in name and name not in ("rotated.tif", "alpha.avif")]
GREY = ("grey", "bits", "fax", "whole", "float")  # of which the red channel, or the brightness, was stored


def pixels(data, name="x"):
    """The pixels of a file, whole, and the codes of what is said of them."""
    flat, _, notes = decoding.decode_pixels(data, name)
    return np.asarray(flat), [n.code.removeprefix("pictures.") for n in notes]


@pytest.mark.parametrize("name", UPRIGHT)
def test_every_format_shows_the_same_picture(name):
    found, notes = pixels(FILES[name])
    assert found.shape == (SIZE[1], SIZE[0], 3)
    if not any(word in name for word in (*GREY, "alpha", "transparent", "lossless", "deflate")):
        assert np.abs(found - colours().astype(float)).mean() < 7  # 64 colours of a palette are the roughest
    assert ("transparency_on_white" in notes) == any(w in name for w in ("alpha", "transparent", "lossless", "deflate"))
    assert ("frames" in notes) == any(word in name for word in ("animated", "two", "pages"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_picture_is_turned_as_its_tag_says(orientation, kind):
    expected = decoding.UPRIGHT.get(orientation)
    upright = picture() if expected is None else picture().transpose(expected)
    if kind == "TIFF":
        data = tiff_with_tags(picture(), tag274=orientation)
    else:
        lossless = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind in ("JPEG", "AVIF") else {}
        data = encoded(picture(), kind, exif=exif(orientation), **lossless)
    found, notes = pixels(data)
    assert found.shape == np.asarray(upright).shape and np.abs(found - np.asarray(upright).astype(float)).mean() < 3
    assert notes == (["rotated"] if orientation > 1 else [])


def test_exif_garbage_never_stops_a_sound_picture():
    png, rgb = encoded(picture()), picture()
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 4\nno hexadecimal")
    garbage = {
        "no directory": with_chunk(png, b"eXIf", b"garbage, and no TIFF directory"),
        "raw profile": encoded(rgb, pnginfo=text),
        "blank": encoded(rgb, "JPEG", exif=b"Exif\0\0"),
        "cut off": encoded(rgb, "JPEG", exif=exif(6).tobytes()[:20]),
        "long": encoded(rgb, "JPEG", exif=exif(1, tag270="x" * 60_000)),
        "date": encoded(rgb, "JPEG", exif=exif(6, tag306=7)),
        "orientation 9": encoded(rgb, "JPEG", exif=exif(9)),
        "wrong sum": png[:33] + chunk(b"eXIf", exif(6).tobytes()[6:])[:-1] + b"!" + png[33:],
        "webp": encoded(rgb, "WEBP", exif=b"Exif\0\0MM garbage"),
    }
    for name, data in garbage.items():
        found, notes = pixels(data, name)
        assert found.shape == ((64, 48, 3) if "rotated" in notes else (48, 64, 3)), name
        assert set(notes) <= {"rotated", "exif_unreadable"}, name
    assert pixels(garbage["no directory"])[1] == ["exif_unreadable"] == pixels(garbage["raw profile"])[1]


def test_texts_of_megabytes_do_not_make_a_picture_damaged():
    png, long = encoded(picture()), zlib.compress(b" " * 3_000_000)
    as_it_is = pixels(png)[0]
    files = {
        "zTXt": with_chunk(png, b"zTXt", b"workflow\0\0" + long),
        "iTXt": with_chunk(png, b"iTXt", b"workflow\0\1\0\0\0" + long),
        "tEXt": with_chunk(png, b"tEXt", b"workflow\0" + b" " * 3_000_000),
        "XMP": with_chunk(png, b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + long),
        "wrong sum": png[:33] + chunk(b"tEXt", b"a\0b")[:-1] + b"!" + png[33:],
    }
    for _ in range(100):
        files["many"] = with_chunk(files.get("many", png), b"zTXt", b"history\0\0" + zlib.compress(b" " * 900_000))
    for name, data in files.items():
        found, notes = pixels(data, name)
        assert (found == as_it_is).all() and notes == [], name


def test_a_text_is_not_unpacked_to_hundreds_of_megabytes():
    pack = zlib.compressobj(9)
    packed = b"".join(pack.compress(bytes(10_000_000)) for _ in range(30)) + pack.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind, body in ((b"zTXt", b"Raw profile type exif\0\0"), (b"iCCP", b"profile\0\0")):
        assert pixels(with_chunk(encoded(picture()), kind, body + packed))[0].shape == (48, 64, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_an_xmp_orientation_is_kept():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = with_chunk(encoded(picture()), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    assert pixels(data)[1] == ["rotated"]


def test_a_colour_profile_is_named_and_not_applied():
    plain = pixels(encoded(picture()))[0]
    for kind in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        found, notes = pixels(encoded(picture(), kind, icc_profile=display_p3(), **options))
        assert (found == plain).all() and notes == ["profile_not_applied"]
    (said,) = decode_picture(encoded(picture((64, 64)), icc_profile=display_p3()), "x", 64).notes
    assert said.params["name"] == "Display P3"
    large = with_chunk(encoded(picture()), b"iCCP", b"of a scanner\0\0" + zlib.compress(b" " * 2_000_000))
    (said,) = decoding.decode_pixels(large, "x")[2]
    assert said.code == "pictures.profile_not_applied" and said.params["name"] == "of a scanner"
    assert pixels(encoded(picture(), icc_profile=b"no profile"))[1] == ["profile_unreadable"]


def test_a_profile_that_is_srgb_is_not_worth_a_word():
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert pixels(encoded(picture(), icc_profile=srgb))[1] == []
    assert pixels(encoded(picture(mode="L"), icc_profile=srgb))[1] in ([], ["profile_unreadable"])


def test_a_camera_s_adobe_rgb_is_named():
    made = exif(1)
    made.get_ifd(0x8769)[0xA005] = {1: "R03", 2: b"0100"}
    (said,) = decoding.decode_pixels(encoded(picture(), "JPEG", exif=made), "x")[2]
    assert said.code == "pictures.profile_not_applied" and said.params["name"] == "Adobe RGB"


OTHER_FILES = {
    "project": b"8BPS\0\1" + bytes(40),
    "drawing": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "web_page": b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Log in</body></html>",
    "document": b"%PDF-1.7\n",
    "archive": b"PK\x03\x04" + bytes(40),
    "camera_raw": b"FUJIFILMCCD-RAW 0201",
    "video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "weights": (9).to_bytes(8, "little") + b'{"a": {}}',
    "system": b"\0\5\x16\7\0\2\0\0Mac OS X",
    "other_picture": b"\0\0\0\x0cjP  \r\n\x87\n",
    "text": "Grüße".encode(),
    "variant": b"\x89PNG\r\n\x1a\n" + bytes(40),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_a_file_that_is_no_picture_is_named(kind):
    with pytest.raises(UserError) as refused:
        decode_picture(OTHER_FILES[kind], "a.jpg", 64)
    assert refused.value.code == "pictures.other_kind"
    assert refused.value.params["kind"].code == f"pictures.kind.{kind}" in english()
    assert len(str(refused.value)) < 300 and "\n" not in str(refused.value)


def test_bytes_of_no_kind_are_refused():
    with refuses("pictures.not_a_picture", path="a.jpg"):
        decode_picture(bytes(range(100, 200)) * 9, "a.jpg", 64)


def test_a_preview_of_a_camera_s_raw_file_is_not_taken_for_the_picture():
    for tags in ({"tag254": 1}, {"tag50706": b"\1\4\0\0"}):
        with pytest.raises(UserError) as refused:
            decode_picture(tiff_with_tags(picture(), **tags), "a.dng", 48)
        assert refused.value.params["kind"].code == "pictures.kind.camera_raw"


def test_a_format_whose_library_is_missing_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(formats, "readable_formats", lambda: ("PNG",))
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for data, name, package in (
        (heic, "HEIC", "pillow-heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100), "HEIC", "pillow-heif"),
        (b"\xff\x0a" + bytes(100), "JPEG XL", "pillow-jxl-plugin"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "JPEG XL", "pillow-jxl-plugin"),
    ):
        with refuses("pictures.library_missing", path="IMG_1.HEIC", format=name, package=package):
            decode_picture(data, "IMG_1.HEIC", 64)
    with refuses("pictures.format_not_built_in", format="AVIF"):
        decode_picture(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif" + bytes(100), "a.avif", 64)


@pytest.mark.skipif("HEIF" not in formats.readable_formats(), reason="pillow-heif is not installed")
def test_a_cut_off_picture_of_a_phone_is_refused():
    with pytest.raises(UserError):
        decode_picture(FILES["rgb.heic"][:300], "IMG_1.HEIC", 48)


@pytest.mark.parametrize("pages", [1, 2, 7, 3000])
def test_pages_are_counted_while_they_are_few(pages):
    data = bytearray(encoded(picture((32, 32)), "TIFF"))
    (first,) = struct.unpack("<I", data[4:8])
    after = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    page = bytes(data[first:after])
    for _ in range(pages - 1):
        data[after : after + 4] = struct.pack("<I", len(data))
        after = len(data) + len(page)
        data += page + bytes(4)
    begun = time.process_time()
    found, notes = pixels(bytes(data))
    assert found.shape == (32, 32, 3) and time.process_time() - begun < 1
    assert notes == {1: [], 3000: ["many_frames"]}.get(pages, ["frames"])


def test_a_container_cannot_claim_much_memory(monkeypatch):
    """A bare JPEG XL header of 2^30 x 2^30 pixels: its library would unpack it when it opens it."""
    bits, value = 0, 0
    for number, count in ((0, 1), (3, 2), (2**30 - 1, 30), (1, 3)):  # not small, 30 bits, the height, a square
        value |= number << bits
        bits += count
    data = b"\xff\x0a" + value.to_bytes(14, "little") + bytes(20)
    monkeypatch.setattr(decoding, "check_library", lambda data, name: None)
    with refuses("pictures.wrong_size", width=2**30, height=2**30):
        decode_picture(data, "a.jxl", 64)
    monkeypatch.setattr(decoding, "MAX_PIXELS_COSTLY", SIZE[0] * SIZE[1] - 1)
    for name in ("lossy.webp", "rgb.avif", "rgb.heic", "rgb.jxl"):
        if name in FILES:
            with refuses("pictures.too_many_pixels", most=SIZE[0] * SIZE[1] - 1):
                decode_picture(FILES[name], name, 48)


@pytest.mark.parametrize("size", [(64, 48), (32, 32), (256, 96), (1000, 333), (40, 4000)])
def test_the_stated_size_of_a_jpeg_xl_is_its_size(size):
    if "JXL" not in formats.readable_formats():
        pytest.skip("pillow-jxl-plugin is not installed")
    for options in ({}, {"use_container": True}):
        data = encoded(Image.new("RGB", size), "JXL", effort=1, **options)
        assert decoding.picture_size(data) == size == Image.open(io.BytesIO(data)).size


def test_8_bits_of_16_are_the_upper_ones():
    found, notes = pixels(png_of_16_bits(colours().astype(np.uint16) * 257, 2))
    assert (found == colours()).all() and notes == ["scaled_16_bit"]


def test_a_suffix_does_not_decide():
    image = decode_picture(encoded(picture((64, 64))), "mine.jpg", 64).image
    assert (to_uint8(image) == np.asarray(picture((64, 64)))).all()
