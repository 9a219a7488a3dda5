"""A bundle of evidence as somebody hands it over, a folder or a zip: its files are read where they lie, never unpacked.

Whoever made it may be hostile. A name that leads outside, a link, a file that occurs twice and a file that cannot be
read are problems of that file. A zip that is none, or that would unpack to absurd sizes, is refused.
"""

import hashlib
import lzma
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from ..errors import UserError
from ..messages import Note, note
from ..messages.text import single_line

MAX_FILES = 10_000
MAX_TOTAL = 8_000_000_000  # bytes, unpacked: a thousand control pictures of 1024 pixels have a quarter of it
MAX_TEXT = 64_000_000  # bytes of a file that is read as a whole
CHUNK = 1 << 20
ARCHIVE = "the zip"  # in place of a file's name
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a zip, so that equal evidence gives equal bytes
FIRST_DAY = (0, 33)  # the same, as time and date of a local header
# of a file in a zip: signature, version, system, flags, method, time, date, CRC, two sizes, lengths of name and extra
LOCAL_HEADER = struct.Struct("<4s2B4H3I2H")
# what reading a damaged, encrypted or otherwise strange member of a zip raises
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


@dataclass(frozen=True)
class FileProblem:
    """What is wrong with one file of a bundle."""

    name: str
    note: Note

    def __str__(self) -> str:
        return f"{single_line(self.name)}: {self.note}"


def file_problem(name: str, what: str, **params: Any) -> FileProblem:
    """Make the problem of a file; its sentence stands under `evidence.problem.WHAT`."""
    return FileProblem(name, note(f"evidence.problem.{what}", **params))


@runtime_checkable
class Bundle(Protocol):
    """Files by their names, as POSIX paths, with the problems that show before any is read."""

    @property
    def label(self) -> str:
        """How a sentence calls it: its path."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each file, without the files that have a problem."""
        ...

    @property
    def problems(self) -> tuple[FileProblem, ...]:
        """The problems that show before any file is read."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for reading."""
        ...


@dataclass(frozen=True)
class FolderBundle:
    """A bundle in a folder."""

    folder: Path
    sizes: Mapping[str, int]
    problems: tuple[FileProblem, ...]

    @property
    def label(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for reading."""
        return (self.folder / name).open("rb")


@dataclass(frozen=True)
class ZipBundle:
    """A bundle in a zip."""

    path: Path
    file: zipfile.ZipFile
    sizes: Mapping[str, int]
    problems: tuple[FileProblem, ...]

    @property
    def label(self) -> str:
        """The path of the zip."""
        return str(self.path)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a member of the zip for reading."""
        return self.file.open(name)


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a folder or a zip, and read its names and sizes.

    Raises:
        UserError: if it is neither, or larger than evidence can be.
    """
    if path.is_dir():
        yield _open_folder(path)
        return
    if not path.exists():
        raise UserError("evidence.no_bundle", path=str(path))
    try:
        file = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise UserError("evidence.no_zip", path=str(path), problem=single_line(str(error))) from error
    with file:
        yield _open_zip(file, path)


def file_sha256(bundle: Bundle, name: str) -> str | None:
    """Compute the SHA-256 of a file's bytes; None if they cannot be read."""
    digest = hashlib.sha256()
    try:
        with bundle.open(name) as file:
            while part := file.read(CHUNK):
                digest.update(part)
    except UNREADABLE:
        return None
    return digest.hexdigest()


def read_small(bundle: Bundle, name: str, limit: int = MAX_TEXT) -> bytes | None:
    """Read a file's bytes; None if it is missing, has more than `limit`, or cannot be read."""
    if not bundle.sizes.get(name, limit + 1) <= limit:
        return None
    try:
        with bundle.open(name) as file:
            return file.read(limit)
    except UNREADABLE:
        return None


def is_inside(name: str) -> bool:
    """Tell whether `name` is a path inside the folder, on every system."""
    parts = name.split("/")
    return not re.search(r"[\\:\0]", name) and all(part not in ("", ".", "..") for part in parts)


def _open_folder(folder: Path) -> FolderBundle:
    sizes: dict[str, int] = {}
    problems: list[FileProblem] = []
    for here, folders, files in os.walk(folder):
        for name in sorted((*folders, *files)):
            path = Path(here) / name
            inside, status = path.relative_to(folder).as_posix(), path.lstat()
            if stat.S_ISREG(status.st_mode):
                sizes[inside] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                problems.append(file_problem(inside, "link"))
        _check_count(str(folder), len(sizes) + len(problems))
    _check_total(str(folder), sizes.values())
    return FolderBundle(folder, sizes, (*problems, *_same_on_some_systems(sizes)))


def _open_zip(file: zipfile.ZipFile, path: Path) -> ZipBundle:
    members = file.infolist()
    _check_count(str(path), len(members))
    _check_total(str(path), (m.file_size for m in members))
    sizes: dict[str, int] = {}
    problems: dict[str, FileProblem] = {}
    for member in members:
        name = member.filename
        if not is_inside(name.removesuffix("/")):
            problems[name] = file_problem(name, "outside")
        elif name in sizes:
            problems[name] = file_problem(name, "duplicate")
        elif member.flag_bits & 1:
            problems[name] = file_problem(name, "encrypted")
        elif stat.S_ISLNK(member.external_attr >> 16):
            problems[name] = file_problem(name, "link")
        elif member.is_dir():
            problems[name] = file_problem(name, "folder")
        else:
            sizes[name] = member.file_size
    known = {n: s for n, s in sizes.items() if n not in problems}
    for problem in (*_same_on_some_systems(known), *_framing_problems(file, path)):
        problems.setdefault(problem.name, problem)
    return ZipBundle(path, file, known, tuple(problems.values()))


def _same_on_some_systems(names: Iterable[str]) -> Iterator[FileProblem]:
    """Name the files whose names differ only in case, or in how a letter is written: some systems hold one of them."""
    first: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFC", name).casefold()
        if plain in first:
            yield file_problem(name, "same_name", other=first[plain])
        first.setdefault(plain, name)


def _framing_problems(file: zipfile.ZipFile, path: Path) -> Iterator[FileProblem]:
    """Name what surrounds the files of a zip otherwise than `pack_evidence` writes it.

    There, entries follow each other from the first byte on, and nothing stands before, between or behind them. So a zip
    has one reading, whatever program opens it.
    """
    end, place = path.stat().st_size, 0
    large = end > zipfile.ZIP64_LIMIT
    with path.open("rb") as raw:
        for member in file.infolist():
            raw.seek(member.header_offset)
            header = raw.read(LOCAL_HEADER.size)
            name = member.orig_filename.encode("utf-8", "surrogateescape")
            if member.header_offset != place:
                yield file_problem(ARCHIVE, "zip_gap", file=member.filename, found=member.header_offset, expected=place)
                return
            sizes = (member.CRC, member.compress_size, member.file_size, len(name), 0)
            due = (b"PK\3\4", member.extract_version, 0, 0, zipfile.ZIP_DEFLATED, *FIRST_DAY, *sizes)
            same = header == LOCAL_HEADER.pack(*due) and raw.read(len(name)) == name
            if field := _odd_field(member, large) or ("" if same else "local header") or _odd_data(raw, member):
                yield file_problem(member.filename, "zip_entry", field=field)
            after = sum(LOCAL_HEADER.unpack(header)[-2:]) if len(header) == LOCAL_HEADER.size else len(name)
            place += LOCAL_HEADER.size + after + member.compress_size
    directory = sum(46 + len(m.orig_filename.encode("utf-8", "surrogateescape")) for m in file.infolist())
    directory += sum(len(m.extra) for m in file.infolist()) if large else 0
    ends = {place + directory + 22, place + directory + 22 + 76} if large else {place + directory + 22}
    if file.start_dir != place or end not in ends:
        yield file_problem(ARCHIVE, "zip_rest", found=end, expected=min(ends))


def _odd_data(raw: IO[bytes], member: zipfile.ZipInfo) -> str | None:
    """Say in one word if more lies in the place of a file's compressed bytes than these: unpacking leaves it out.

    Another program might read it: a PDF may begin anywhere in the first kilobyte of a file.
    """
    unpacker, left = zlib.decompressobj(-zlib.MAX_WBITS), member.compress_size
    try:
        while left > 0 and not unpacker.eof:
            part = raw.read(min(CHUNK, left))
            left -= len(part) or left  # the file may end before
            while part and not unpacker.eof:
                unpacker.decompress(part, CHUNK)
                part = unpacker.unconsumed_tail
    except zlib.error:
        return None  # what is damaged is named when it is hashed
    return "compressed bytes" if unpacker.eof and (left or unpacker.unused_data) else None


def _odd_field(member: zipfile.ZipInfo, large: bool) -> str | None:
    """What of an entry of the zip's directory no run writes, in one word; None if nothing is."""
    versions = (20, 45) if large else (20,)
    fields = {
        "extra field": member.extra == b"" or (large and member.extra[:2] == b"\1\0" and len(member.extra) <= 28),
        "comment": member.comment == b"",
        "date": member.date_time == EPOCH,
        "compression": member.compress_type == zipfile.ZIP_DEFLATED,
        "attributes": (member.external_attr, member.internal_attr, member.volume) == (0o600 << 16, 0, 0),
        "flags": member.flag_bits == 0,
        "version": member.create_version in versions and member.extract_version in versions,
        "system": member.create_system in (0, 3) and member.reserved == 0,
    }
    return next((name for name, ok in fields.items() if not ok), None)


def _check_count(label: str, files: int) -> None:
    if files > MAX_FILES:
        raise UserError("evidence.many_files", bundle=label, most=MAX_FILES)


def _check_total(label: str, sizes: Iterable[int]) -> None:
    if (total := sum(sizes)) > MAX_TOTAL:
        raise UserError("evidence.too_large", bundle=label, most=MAX_TOTAL, given=total)
