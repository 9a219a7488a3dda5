"""From the bytes of a picture file to its upright RGB pixels, or one sentence that says why not.

The bytes are a stranger's. Whatever a library raises on them becomes a `UserError`. Sizes are looked at before pixels
are unpacked, so a small file cannot claim much memory.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from ..errors import UserError
from ..messages import Note, note
from ..messages.text import single_line
from .colours import is_deep, to_rgb
from .formats import COSTLY, check_library, is_jpeg_xl, readable_formats
from .jpeg_xl import stated_size
from .other_files import identify_file
from .png_chunks import slim_png
from .profiles import profile_notes

MIN_SIDE, MAX_SIDE = 32, 16_384
MAX_PIXELS, MAX_PIXELS_COSTLY = 100_000_000, 50_000_000  # with each, reading takes at most 0.95 GB of memory
MOST_PAGES = 1000  # of a TIFF, that are counted
ORIENTATION, EXIF_DIRECTORY, INTEROPERABILITY = 0x0112, 0x8769, 0xA005  # tags of EXIF
ADOBE_RGB = "R03"  # the interoperability index of a camera's Adobe RGB (DCF 2.0), which needs no profile
UPRIGHT = {  # EXIF orientation -> how a picture becomes upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs as an error, it raises as well
DNG_VERSION, SUBFILE_TYPE = 50706, 254  # tags of TIFF
CANON_RAW = b"CR\x02"  # at the ninth byte of a TIFF


def decode_pixels(data: bytes, name: str) -> tuple[Image.Image, str, list[Note]]:
    """Decode the first frame of a picture file.

    Args:
        data: the file's bytes.
        name: what the picture is called in errors.

    Returns:
        the upright picture as RGB, the format as Pillow names it, and notes on what was done.

    Raises:
        UserError: if it is not a picture that can be used.
    """
    if not data:
        raise UserError("pictures.empty", path=name)
    with _refusals(data, name):
        slim, profiles = slim_png(data)
        notes = _frame_notes(slim, name)
        picture = _open(slim, name)
        picture_format = picture.format or ""
        if is_deep(picture):
            notes.append(note("pictures.scaled_16_bit"))
        stated = _orientation(picture)
        picture.load()
        _check_size(picture.size, name, picture.format)  # what is decoded can be larger than the header said
        orientation = _orientation(picture)  # of a TIFF, Pillow has made the picture upright and says 1
        if stated is None or orientation is None:  # asked twice, Pillow answers with nothing
            notes.append(note("pictures.exif_unreadable"))
        elif max(stated, orientation) > 1:
            notes.append(note("pictures.rotated"))
        remarks = profile_notes(picture) or [note("pictures.profile_not_applied", name=p) for p in profiles]
        remarks = remarks or _camera_profile_notes(picture)
        flat = to_rgb(picture, name, notes)
        del picture  # its memory, before there is a third picture
        upright = flat.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else flat
    return upright, picture_format, notes + remarks


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height that a file's header states; (0, 0) if it is no picture."""
    try:
        with _refusals(data, ""):
            return stated_size(data) if is_jpeg_xl(data) else _open(slim_png(data)[0], "").size
    except UserError:
        return 0, 0


@contextmanager
def _refusals(data: bytes, name: str) -> Iterator[None]:
    """Turn what Pillow raises on a file into a `UserError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError("pictures.too_many_pixels", path=name, most=MAX_PIXELS) from error
    except UnidentifiedImageError as error:
        kind = identify_file(data)
        if kind is not None:
            raise UserError("pictures.other_kind", path=name, kind=kind) from error
        raise UserError("pictures.not_a_picture", path=name) from error
    except Exception as error:  # Pillow lets through what its decoders stumble over: `struct.error`, `IndexError`, ...
        said = single_line(str(error)) or type(error).__name__
        raise UserError("pictures.damaged", path=name, error=said) from error


def _open(data: bytes, name: str) -> Image.Image:
    """Open a file without unpacking its pixels, and check its size."""
    check_library(data, name)
    if is_jpeg_xl(data):  # its library unpacks what it opens
        _check_size(stated_size(data), name, "JXL")
    picture = Image.open(io.BytesIO(data), formats=readable_formats())
    _check_size(picture.size, name, picture.format)
    if picture.format == "TIFF":
        _check_no_preview(data, picture, name)
    return picture


def _check_no_preview(data: bytes, picture: Image.Image, name: str) -> None:
    """Refuse a camera's raw file: the first page of these TIFFs is a preview of the picture."""
    tags = getattr(picture, "tag_v2", {})
    kind = tags.get(SUBFILE_TYPE)
    if DNG_VERSION in tags or data[8:11] == CANON_RAW or (isinstance(kind, int) and kind & 1):
        raise UserError("pictures.other_kind", path=name, kind=note("pictures.kind.camera_raw", format="RAW"))


def _check_size(size: tuple[int, int], name: str, picture_format: str | None) -> None:
    width, height = size
    most = MAX_PIXELS_COSTLY if picture_format in COSTLY else MAX_PIXELS
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise UserError(
            "pictures.wrong_size", path=name, width=width, height=height, shortest=MIN_SIDE, longest=MAX_SIDE
        )
    if width * height > most:
        raise UserError("pictures.too_many_pixels", path=name, most=most)


def _frame_notes(data: bytes, name: str) -> list[Note]:
    """State that a file has several frames or pages. Counting moves Pillow on in the file, so it is opened for that."""
    if is_jpeg_xl(data):
        return []
    picture, count = _open(data, name), 1
    try:
        if picture.format == "TIFF":  # to count n pages takes Pillow n * n steps
            while count <= MOST_PAGES:
                picture.seek(count)
                count += 1
        else:
            count = int(getattr(picture, "n_frames", 1))
    except Exception:  # the last page; or a damaged one, and the first may be sound all the same
        pass
    if picture.format == "TIFF" and count > MOST_PAGES:
        return [note("pictures.many_frames", count=MOST_PAGES)]
    return [note("pictures.frames", count=count)] if count > 1 else []


def _orientation(picture: Image.Image) -> int | None:
    """The EXIF orientation, 1 if there is none; None if the EXIF data cannot be read: they can hold anything."""
    if picture.format == "JXL" and not getattr(picture, "jpeg", False):
        return 1  # by its standard the codestream is upright, and EXIF is not asked; a packed JPEG is as it was
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # a directory that is none, hexadecimal that is none
        return None
    return orientation if isinstance(orientation, int) and orientation in UPRIGHT else 1


def _camera_profile_notes(picture: Image.Image) -> list[Note]:
    """State that the colours are a camera's Adobe RGB, which its EXIF data alone say."""
    try:
        exif = picture.getexif()
        exif.get_ifd(EXIF_DIRECTORY)
        index = exif.get_ifd(INTEROPERABILITY).get(1)
    except Exception:  # most files have no such directory
        return []
    return [note("pictures.profile_not_applied", name="Adobe RGB")] if index == ADOBE_RGB else []
