"""Bundles of evidence that somebody has changed and sealed anew, as one would who wants to be believed."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cgidm.errors import UserError
from cgidm.evidence.bundle_writer import rendered_files
from cgidm.evidence.record import ModelsRecord, Record, read_record
from cgidm.evidence.seal import MANIFEST, RECORD, SEAL, seal_folder, seal_text

MODELS = ModelsRecord(base="a", suspect="b", prompt="p", commits={"base": "c0ffee"})


def record_of(folder: Path) -> Record:
    """The record of a folder of evidence."""
    return read_record((folder / RECORD).read_bytes(), str(folder))


def raw_record(folder: Path) -> dict[str, Any]:
    """The same as plain data."""
    return json.loads((folder / RECORD).read_text())


def reseal(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the plain data of the record, whatever comes of it, write both reports anew, and seal the folder."""
    record = raw_record(folder)
    change(record)
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    manifest = json.loads((folder / MANIFEST).read_text())
    names = [name for name in manifest["sha256"] if (folder / name).is_file()]
    with suppress(UserError, OSError, ValueError, IndexError):  # a record that no report can be made of
        data = (folder / RECORD).read_bytes()
        for name, made in rendered_files(record_of(folder), data, lambda name: (folder / name).read_bytes()).items():
            (folder / name).write_bytes(made)
    try:
        seal_folder(folder, record_of(folder), names)
    except UserError:  # no record any more: its identity stays as it was stated
        from hashlib import sha256

        manifest["sha256"] = {n: sha256((folder / n).read_bytes()).hexdigest() for n in sorted(names)}
        data = (json.dumps(manifest, indent=2) + "\n").encode()
        (folder / MANIFEST).write_bytes(data)
        (folder / SEAL).write_bytes(seal_text(data))
