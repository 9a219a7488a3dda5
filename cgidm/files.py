"""Files that are written whole or not at all. Standard library alone."""

import glob
import hashlib
import os
import platform
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hex digits.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write `data` to `path`, so that no reader ever sees a part of it; text becomes UTF-8.

    Raises:
        OSError: if the folder is missing, or the disk is full; what was at `path` before is still there.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it after the block, or is deleted if the block fails.

    The name is hidden, and differs among processes and threads. The block may write a file that is too large for
    memory.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """A hidden path beside `path` that no other machine, process or thread has; `path` is written there first."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{threading.get_ident()}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove what processes of this machine that were killed left beside `path` while they wrote it."""
    for found in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(_machine())}-*.tmp"):
        process = re.search(r"-(\d+)-\d+\.tmp$", found.name)
        if process is None or _is_alive(int(process[1])):
            continue
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)


def _machine() -> str:
    return re.sub(r"[^\w.]", "_", platform.node())[:60]


def _is_alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 ends a process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
