"""Picture files beside a bundle: are they the recorded ones, and do they decode to the recorded pixels?"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...framing.frame import Framing
from ...framing.table import framing_of_table
from ...messages import Note, note
from ...messages.text import single_line
from ...pictures.images import MAX_BYTES, Picture, decode_picture, to_uint8
from ..bundle_files import read_png
from ..bundle_reader import Bundle
from ..record import ControlRecord, PictureRecord, Record
from ..record_of_result import image_name, square_name

MOST_FILES = 20_000  # in the folder of originals


@dataclass(frozen=True)
class OriginalCheck:
    """What a folder shows of one recorded picture."""

    name: str
    note: Note
    agrees: bool | None  # None: its file is not there

    def __str__(self) -> str:
        return f"{single_line(self.name)}: {self.note}"


def check_originals(bundle: Bundle, record: Record, *folders: Path) -> list[OriginalCheck]:
    """Compare the files of folders with the pictures and control pictures of a record, name by name.

    A file is found by its SHA-256, whatever it is called now, and in whatever folder inside.

    Args:
        bundle: the evidence, whole.
        record: that of the bundle.
        folders: of picture files.

    Raises:
        UserError: if one is no folder, or holds too many files.
    """
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise UserError("evidence.no_originals", path=str(missing[0]))
    by_digest, by_name = _index(folders)
    recorded: list[tuple[PictureRecord | ControlRecord, str]]
    recorded = [(p, image_name(i, "original")) for i, p in enumerate(record.pictures)]
    recorded += [(c, c.image) for c in record.controls]
    found = []
    for each, file in recorded:
        name = re.split(r"[\\/]", each.name)[-1]
        if (path := by_digest.get(each.sha256)) is not None:
            found.append(_check_pixels(bundle, record, each, file, path))
        elif name in by_name:
            params = {"expected": each.sha256, "given": by_name[name]}
            found.append(OriginalCheck(name, note("evidence.original.other_file", **params), False))
        else:
            found.append(OriginalCheck(name, note("evidence.original.missing", expected=each.sha256), None))
    return found


def _index(folders: Sequence[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """The files of folders by their SHA-256, and the digest of each by its name."""
    by_digest: dict[str, Path] = {}
    by_name: dict[str, str] = {}
    for path in chain.from_iterable(map(_files, folders)):
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        by_digest.setdefault(digest, path)
        by_name.setdefault(path.name, digest)
    return by_digest, by_name


def _files(folder: Path) -> Iterator[Path]:
    count = 0
    for here, _, files in os.walk(folder):
        for name in sorted(files):
            count += 1
            if count > MOST_FILES:
                raise UserError("evidence.many_originals", path=str(folder), most=MOST_FILES)
            yield Path(here) / name


def _check_pixels(
    bundle: Bundle, record: Record, each: PictureRecord | ControlRecord, file: str, path: Path
) -> OriginalCheck:
    """Decode a file as the run did, and compare it with what the bundle holds."""
    name = re.split(r"[\\/]", each.name)[-1]
    try:
        decoded = decode_picture(path.read_bytes(), path.name, _framing(bundle, record, file))
    except UserError as error:
        return OriginalCheck(name, note("evidence.original.unreadable", problem=error.note), False)
    if not _same(bundle, record, decoded, file):
        return OriginalCheck(name, note("evidence.original.other_pixels"), False)
    return OriginalCheck(name, note("evidence.original.same"), True)


def _framing(bundle: Bundle, record: Record, file: str) -> Framing | int:
    """How the run framed pictures; records without a framing are about centre squares."""
    if record.framing is not None:
        return framing_of_table(record.framing.rule)
    return read_png(bundle, file, None).shape[-1]


def _same(bundle: Bundle, record: Record, decoded: Picture, file: str) -> bool:
    pairs = [(file, decoded.image)]
    if decoded.square is not None and record.framing is not None and record.framing.guessed:
        pairs.append((square_name(file), decoded.square))
    for name, image in pairs:
        held = read_png(bundle, name, None)
        if held.shape != image.shape or not np.array_equal(to_uint8(held), to_uint8(image)):
            return False
    return True
