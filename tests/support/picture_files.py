"""Small picture files of every format and mode that is read: the same bytes each time."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from cgidm.pictures.formats import readable_formats

SIZE = 64, 48
MOST_16, ORIENTATION = 65535, 0x0112


def colours(size=SIZE):
    """A smooth picture of many colours, no two of its edges alike."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    channels = 0.15 + 0.7 * x, 0.8 - 0.6 * y, 0.5 + 0.4 * np.sin(6 * x * y)
    return (np.stack(channels, -1) * 255).round().astype(np.uint8)


def picture(size=SIZE, mode="RGB"):
    """The picture of `colours` in a mode of Pillow."""
    return Image.fromarray(colours(size)).convert(mode)


def encoded(image, kind="PNG", **options):
    """The bytes of a file of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, body):
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(png, kind, body):
    """A PNG with one more chunk behind its header."""
    return png[:33] + chunk(kind, body) + png[33:]


def png_of_16_bits(values, colour_type, more=b""):
    """A PNG of 16 bits a channel, which Pillow does not write for colours."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def exif(orientation=6, **tags):
    """EXIF data with an orientation."""
    made = Image.Exif()
    made[ORIENTATION] = orientation
    for number, value in tags.items():
        made[int(number.removeprefix("tag"))] = value
    return made


def tiff(*pages, **options):
    """A TIFF of several pages."""
    first, *others = pages
    return encoded(first, "TIFF", save_all=True, append_images=others, **options)


def tiff_with_tags(image, **numbers):
    """A TIFF with stated tags: `tag254=1`."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in numbers.items():
        directory[int(name.removeprefix("tag"))] = value
    return encoded(image, "TIFF", tiffinfo=directory)


def display_p3():
    """A colour profile with the primaries of Display P3 and the curve of sRGB, as phones write it."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2919, 0.6922, 0.0419),
        b"bXYZ": (0.1572, 0.0666, 0.7841),
    }
    for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12):
        tag, offset = bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8], "big")
        if tag in primaries:
            fixed = (round(v * 65536) for v in primaries[tag])
            data[offset + 8 : offset + 20] = struct.pack(">iii", *fixed)
    names = ("sRGB built-in".encode("utf-16-be"), "Display P3   ".encode("utf-16-be"))
    return bytes(data).replace(*names)


def every_picture_file():
    """Name -> bytes of a file of every format and mode; those whose library is missing are left out."""
    rgb, deep = picture(), colours().astype(np.uint16) * 257
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(colours()[..., 0]))
    palette = rgb.quantize(64)
    lab = ImageCms.profileToProfile(
        rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    second = picture().rotate(180)
    profile = display_p3()
    files = {
        "rgb.png": encoded(rgb),
        "grey.png": encoded(picture(mode="L")),
        "grey alpha.png": encoded(alpha.convert("LA")),
        "alpha.png": encoded(alpha),
        "bits.png": encoded(picture(mode="1")),
        "palette.png": encoded(palette),
        "transparent palette.png": encoded(palette, transparency=3),
        "animated.png": encoded(rgb, save_all=True, append_images=[second]),
        "profile.png": encoded(rgb, icc_profile=profile),
        "exif.png": encoded(rgb, exif=exif()),
        "16 grey.png": encoded(Image.fromarray(deep[..., 0])),
        "16 colours.png": png_of_16_bits(deep, 2),
        "rgb.jpg": encoded(rgb, "JPEG"),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True, subsampling=0),
        "grey.jpg": encoded(picture(mode="L"), "JPEG"),
        "cmyk.jpg": encoded(picture(mode="CMYK"), "JPEG"),
        "exif.jpg": encoded(rgb, "JPEG", exif=exif(tag271="camera", tag282=72.0)),
        "profile.jpg": encoded(rgb, "JPEG", icc_profile=profile),
        "two.mpo": encoded(rgb, "MPO", save_all=True, append_images=[second]),
        "lossy.webp": encoded(rgb, "WEBP"),
        "lossless.webp": encoded(alpha, "WEBP", lossless=True),
        "animated.webp": encoded(rgb, "WEBP", save_all=True, append_images=[second]),
        "plain.gif": encoded(palette, "GIF"),
        "transparent.gif": encoded(palette, "GIF", transparency=3),
        "animated.gif": encoded(rgb, "GIF", save_all=True, append_images=[second]),
        "rgb.bmp": encoded(rgb, "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "raw.tif": encoded(rgb, "TIFF"),
        "lzw.tif": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded(alpha, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encoded(rgb, "TIFF", compression="jpeg"),
        "fax.tif": encoded(picture(mode="1"), "TIFF", compression="group4"),
        "16 grey.tif": encoded(Image.fromarray(deep[..., 0]), "TIFF"),
        "whole.tif": encoded(Image.fromarray(deep[..., 0].astype(np.int32)), "TIFF"),
        "float.tif": encoded(Image.fromarray((colours()[..., 0] / 255).astype(np.float32)), "TIFF"),
        "lab.tif": encoded(lab, "TIFF"),
        "cmyk.tif": encoded(picture(mode="CMYK"), "TIFF"),
        "ycbcr.tif": encoded(picture(mode="YCbCr"), "TIFF", compression="tiff_lzw"),
        "pages.tif": tiff(rgb, palette, compression="tiff_lzw"),
        "rotated.tif": tiff_with_tags(rgb, tag274=6),
    }
    if "AVIF" in readable_formats():
        files["rgb.avif"] = encoded(rgb, "AVIF", speed=10)
        files["alpha.avif"] = encoded(alpha, "AVIF", speed=10, exif=exif())
    if "HEIF" in readable_formats():
        files["rgb.heic"] = encoded(rgb, "HEIF", exif=exif())
        files["alpha.heic"] = encoded(alpha, "HEIF")
    if "JXL" in readable_formats():
        files["rgb.jxl"] = encoded(rgb, "JXL", effort=1)
        files["alpha.jxl"] = encoded(alpha, "JXL", lossless=True, effort=1, use_container=True, exif=exif().tobytes())
    return files
