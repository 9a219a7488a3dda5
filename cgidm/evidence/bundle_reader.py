"""A bundle of evidence as somebody hands it over, a folder or a zip: its files are read where they lie, never unpacked.

Whoever made it may be hostile. Names that lead outside, links, files that occur twice and files that cannot be read
are faults with the name of the file; a zip that is none, or that would unpack to absurd sizes, is refused.
"""

import hashlib
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

from ..errors import UserError
from ..text import single_line

MAX_FILES = 10_000
MAX_TOTAL = 8_000_000_000  # bytes, unpacked: a thousand control pictures of 1024 pixels have a quarter of it
MAX_TEXT = 64_000_000  # bytes of a file that is read as a whole
CHUNK = 1 << 20
ACCEPTED = "accepted: the folder or zip that `cgidm authenticate` wrote"
# what reading a damaged, encrypted or otherwise strange member of a zip raises
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file."""

    name: str
    said: str

    def __str__(self) -> str:
        return f"{single_line(self.name)}: {self.said}"


@runtime_checkable
class Bundle(Protocol):
    """Files by their names, as posix paths, with the faults that show before any is read."""

    @property
    def label(self) -> str: ...

    @property
    def sizes(self) -> Mapping[str, int]: ...  # bytes; without the files that have a fault

    @property
    def faults(self) -> tuple[Fault, ...]: ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]: ...


@dataclass(frozen=True)
class FolderBundle:
    folder: Path
    sizes: Mapping[str, int]
    faults: tuple[Fault, ...]

    @property
    def label(self) -> str:
        return str(self.folder)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return (self.folder / name).open("rb")


@dataclass(frozen=True)
class ZipBundle:
    path: Path
    file: zipfile.ZipFile
    sizes: Mapping[str, int]
    faults: tuple[Fault, ...]

    @property
    def label(self) -> str:
        return str(self.path)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return self.file.open(name)


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """A folder or a zip, its names and sizes read.

    Raises:
        UserError: if it is neither, or larger than evidence can be.
    """
    if path.is_dir():
        yield _open_folder(path)
        return
    if not path.exists():
        raise UserError(f"bundle {path} does not exist; {ACCEPTED}")
    try:
        file = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise UserError(f"bundle {path} is no zip that can be read ({single_line(str(error))}); {ACCEPTED}") from error
    with file:
        yield _look_into(file, path)


def file_sha256(bundle: Bundle, name: str) -> str | None:
    """SHA-256 of a file's bytes; None if they cannot be read."""
    digest = hashlib.sha256()
    try:
        with bundle.open(name) as file:
            while part := file.read(CHUNK):
                digest.update(part)
    except UNREADABLE:
        return None
    return digest.hexdigest()


def read_small(bundle: Bundle, name: str, limit: int = MAX_TEXT) -> bytes | None:
    """A file's bytes; None if it is missing, has more than `limit`, or cannot be read."""
    if not bundle.sizes.get(name, limit + 1) <= limit:
        return None
    try:
        with bundle.open(name) as file:
            return file.read(limit)
    except UNREADABLE:
        return None


def is_plain(name: str) -> bool:
    """Does `name` lead to a place inside the folder, on every system?"""
    parts = name.split("/")
    return not re.search(r"[\\:\0]", name) and all(part not in ("", ".", "..") for part in parts)


def _open_folder(folder: Path) -> FolderBundle:
    sizes: dict[str, int] = {}
    faults: list[Fault] = []
    for here, folders, files in os.walk(folder):
        for name in sorted((*folders, *files)):
            path = Path(here) / name
            inside, status = path.relative_to(folder).as_posix(), path.lstat()
            if stat.S_ISREG(status.st_mode):
                sizes[inside] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                faults.append(Fault(inside, "is a link or a device, not a file of its own"))
        _check_count(str(folder), len(sizes) + len(faults))
    _check_total(str(folder), sizes.values())
    return FolderBundle(folder, sizes, tuple(faults))


def _look_into(file: zipfile.ZipFile, path: Path) -> ZipBundle:
    members = [m for m in file.infolist() if not (m.is_dir() and m.file_size == 0)]
    _check_count(str(path), len(members))
    _check_total(str(path), (m.file_size for m in members))
    sizes: dict[str, int] = {}
    faults: dict[str, Fault] = {}
    for member in members:
        name = member.filename
        if not is_plain(name):
            faults[name] = Fault(name, "leads outside of the bundle")
        elif name in sizes:
            faults[name] = Fault(name, "occurs more than once in the zip: which of them counts, nobody can say")
        elif member.flag_bits & 1:
            faults[name] = Fault(name, "is encrypted")
        else:
            sizes[name] = member.file_size
    return ZipBundle(path, file, {n: s for n, s in sizes.items() if n not in faults}, tuple(faults.values()))


def _check_count(label: str, files: int) -> None:
    if files > MAX_FILES:
        raise UserError(f"bundle {label} holds more than {MAX_FILES:,} files; {ACCEPTED}")


def _check_total(label: str, sizes: Iterable[int]) -> None:
    if (total := sum(sizes)) > MAX_TOTAL:
        raise UserError(f"bundle {label} has {total:,} bytes unpacked; accepted: at most {MAX_TOTAL:,}")
