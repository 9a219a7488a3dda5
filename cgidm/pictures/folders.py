"""The picture files of a folder, and what is said of the files beside them."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from ..errors import UserError
from ..messages import Note, note
from .formats import SUFFIXES

SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}  # of Windows and macOS, which nobody put there
MOST_KINDS = 6  # that are named


def list_picture_files(folder: Path) -> list[Path]:
    """The picture files of a folder by name, without hidden ones: macOS writes `._1.jpg` beside `1.jpg`."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not _is_of_system(p))
    return sorted(p for p in files if not p.is_dir())


def picture_files(folder: str | Path, role: str = "pictures") -> list[Path]:
    """The picture files of a folder by name, at least one.

    Args:
        folder: the folder that was given.
        role: what its pictures are for, as the error names it: "controls".

    Raises:
        UserError: if it is no folder, or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError("pictures.not_a_folder", role=role, path=str(folder))
    files = list_picture_files(folder)
    if not files:
        raise UserError("pictures.no_pictures", role=role, path=str(folder), suffixes=sorted(SUFFIXES))
    return files


def skipped_file_notes(folder: Path, known: Collection[str] = ()) -> tuple[Note, ...]:
    """State which files of a folder are not among its picture files, and how many; nothing where there are none.

    Args:
        folder: a folder that was given; folders in it are named, since their pictures are not read.
        known: names of other files that are read.
    """
    others, system, folders = Counter[str](), 0, 0
    for path in folder.iterdir():
        if _is_of_system(path):
            system += 1
        elif path.is_dir():
            folders += 1
        elif path.suffix.lower() not in SUFFIXES and path.name not in known:
            others[path.suffix.lower() or path.name] += 1
    found = []
    if others:
        kinds = [f"{count} x {kind}" for kind, count in others.most_common(MOST_KINDS)]
        more = ["..."] if len(others) > MOST_KINDS else []
        found.append(note("pictures.skipped_files", path=str(folder), count=others.total(), kinds=[*kinds, *more]))
    if system:
        found.append(note("pictures.skipped_system_files", path=str(folder), count=system))
    if folders:
        found.append(note("pictures.skipped_folders", path=str(folder), count=folders))
    return tuple(found)


def _is_of_system(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in SYSTEM_FILES
