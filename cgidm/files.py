"""Files that are written whole or not at all. Standard library alone."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
