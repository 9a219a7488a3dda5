"""The files of a bundle that no run writes, or that do not follow from its record and its pictures."""

import hashlib
import io
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..judging.lineup import LETTERS
from ..pictures.images import MAX_BYTES, from_uint8
from .bundle_reader import Bundle, FileProblem, file_problem, file_sha256, read_small
from .bundle_writer import bundle_names, rendered_files
from .lineup_sheet import ROLES, panel_name
from .record import Record
from .record_of_result import image_name
from .seal import is_envelope
from .standalone.build import RELEASED, SCRIPT


def read_png(bundle: Bundle, name: str, size: tuple[int, int] | None) -> Float[Tensor, "3 H W"]:
    """Read a picture of the bundle as the method saw it.

    Args:
        bundle: the evidence.
        name: of the file.
        size: its width and height; None: any.

    Raises:
        UserError: if it is no RGB PNG of that width and height.
    """
    width, height = size or ("any", "any")
    expected = {"file": name, "expected_width": width, "expected_height": height}
    data = read_small(bundle, name, MAX_BYTES)
    if data is None:
        raise UserError("evidence.missing_picture", **expected)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if picture.size != (size or picture.size) or picture.mode != "RGB":
                given = {"mode": picture.mode, "width": picture.width, "height": picture.height}
                raise UserError("evidence.other_picture", **expected, **given)
            return from_uint8(np.array(picture))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError("evidence.missing_picture", **expected) from error


def find_foreign_files(bundle: Bundle, record: Record, data: bytes) -> Iterator[FileProblem]:
    """Name the files that no run writes, or that another record gives.

    Args:
        bundle: the evidence.
        record: that of the bundle.
        data: the bytes of the record.
    """

    def read(name: str) -> bytes:
        found = read_small(bundle, name, MAX_BYTES)
        if found is None:
            raise UserError("evidence.missing_picture", file=name, expected_width="any", expected_height="any")
        return found

    try:
        names = bundle_names(record)
        for name in sorted(n for n in bundle.sizes.keys() - {*names} if not is_envelope(n)):
            yield file_problem(name, "not_of_a_run")
        for name in sorted({*names} - bundle.sizes.keys()):
            yield file_problem(name, "missing")
        for name in names:
            if name.endswith(".png") and name in bundle.sizes and not is_plain_png(read(name)):
                yield file_problem(name, "more_than_a_picture")
        for number, r in enumerate(record.lineup.rounds if record.lineup is not None else (), 1):
            yield from _panels(bundle, record, number, r.picture, r.letter, r.decoys)
        for name, rendered in rendered_files(record, data, read).items():
            known = {hashlib.sha256(rendered).hexdigest(), *(RELEASED if name == SCRIPT else ())}
            if name in bundle.sizes and file_sha256(bundle, name) not in known:
                yield file_problem(name, "not_of_record")
    except Exception as error:
        why = error.note if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        yield file_problem("report.html", "unrenderable", problem=why)


def _panels(
    bundle: Bundle, record: Record, number: int, picture: int, letter: str, decoys: Sequence[int]
) -> Iterator[FileProblem]:
    """Name the images of a line-up's round that are not those of the picture, or not of its control pictures."""
    same = {panel_name(number, letter, role): image_name(picture, role) for role in ROLES}
    if record.controls:
        others = (a for a in LETTERS if a != letter)
        same |= {
            panel_name(number, a, "original"): record.controls[d].image for a, d in zip(others, decoys, strict=False)
        }
    for panel, file in same.items():
        if panel in bundle.sizes and file_sha256(bundle, panel) != file_sha256(bundle, file):
            yield file_problem(panel, "other_panel", file=file)


def is_plain_png(data: bytes) -> bool:
    """Tell whether the bytes are a PNG that holds pixels and nothing else: no text, nothing behind its end."""
    place, chunks = 8, []
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4])
        chunks.append(data[place + 4 : place + 8])
        place += length + 12
    plain = data.startswith(b"\x89PNG\r\n\x1a\n") and place == len(data) and {*chunks} == {b"IHDR", b"IDAT", b"IEND"}
    return plain and chunks[-1] == b"IEND" and chunks.count(b"IEND") == 1
