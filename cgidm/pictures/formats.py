"""Which picture formats are read, by which library, and under which file names: the one list of the project.

Pillow reads most of them. HEIC and JPEG XL are read by plugins of Pillow, where those are installed.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from PIL import Image, features

from ..errors import UserError

COSTLY = ("WEBP", "AVIF", "HEIF", "JXL")  # their libraries hold the picture several times while they unpack it


@dataclass(frozen=True)
class PictureFormat:
    """A format of picture files.

    Attributes:
        name: what people call it: "HEIC".
        pillow: Pillow's name of it: "HEIF".
        suffixes: how names of its files end, in lower case.
        package: what must be installed to read it, as `pip` names it; "": Pillow itself reads it.
        extra: the extra of this project that installs the package.
    """

    name: str
    pillow: str
    suffixes: tuple[str, ...]
    package: str = ""
    extra: str = ""


PICTURE_FORMATS = (
    PictureFormat("PNG", "PNG", (".png", ".apng")),
    PictureFormat("JPEG", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo")),
    PictureFormat("WebP", "WEBP", (".webp",)),
    PictureFormat("AVIF", "AVIF", (".avif", ".avifs"), "pillow"),  # in Pillow since 11.3, on most systems
    PictureFormat("GIF", "GIF", (".gif",)),
    PictureFormat("BMP", "BMP", (".bmp", ".dib")),
    PictureFormat("TIFF", "TIFF", (".tif", ".tiff")),
    PictureFormat("HEIC", "HEIF", (".heic", ".heif", ".hif"), "pillow-heif", "heic"),
    PictureFormat("JPEG XL", "JXL", (".jxl",), "pillow-jxl-plugin", "jxl"),
)
SUFFIXES = frozenset(suffix for known in PICTURE_FORMATS for suffix in known.suffixes)


@cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that can be read on this machine; makes the plugins known to Pillow."""
    return tuple(f.pillow for f in PICTURE_FORMATS if _OPENERS.get(f.pillow, _pillow_itself)())


def check_library(data: bytes, path: str) -> None:
    """Check that the library is there which reads the format of a file's first bytes.

    Raises:
        UserError: if the file is of a format that this machine cannot read, although the project can.
    """
    known = optional_format(data)
    if known is None or known.pillow in readable_formats():
        return
    if known.extra:
        raise UserError("pictures.library_missing", path=path, format=known.name, package=known.package)
    raise UserError("pictures.format_not_built_in", path=path, format=known.name)


def is_jpeg_xl(data: bytes) -> bool:
    """Whether the bytes begin as a JPEG XL file: a bare codestream, or the signature box of the container."""
    return data[:2] == b"\xff\x0a" or data[:12] == b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"


def brands(data: bytes) -> tuple[bytes, ...]:
    """The brands of an ISO base media file (ISO/IEC 14496-12, `ftyp`): the major one, then the compatible ones."""
    if data[4:8] != b"ftyp":
        return ()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))


def optional_format(data: bytes) -> PictureFormat | None:
    """The format of a file by its first bytes, if it is one that not every machine can read."""
    found = brands(data)
    if is_jpeg_xl(data):
        name = "JXL"
    elif {b"avif", b"avis"} & set(found):
        name = "AVIF"
    elif found and (found[0][:3] in (b"hei", b"hev") or found[0] in (b"mif1", b"msf1")):
        name = "HEIF"
    else:
        return None
    return next(f for f in PICTURE_FORMATS if f.pillow == name)


def _pillow_itself() -> bool:
    return True


def _avif() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(features.check("avif"))


def _heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except (ImportError, OSError):  # OSError: its native library does not fit this system
        return False
    register_heif_opener()
    return True


def _jpeg_xl() -> bool:
    try:
        import pillow_jxl  # noqa: F401 - the import makes it known to Pillow
    except (ImportError, OSError):
        return False
    return "JXL" in Image.OPEN


_OPENERS: dict[str, Callable[[], bool]] = {"AVIF": _avif, "HEIF": _heif, "JXL": _jpeg_xl}
