"""Trained suspects on the disk: written whole or not at all, and never used if they are not what was written."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError

from cgidm.errors import UserError
from cgidm.intake.layout import open_checkpoint
from eval.benchmark.datasets import read_checked
from eval.benchmark.finetune import finetune
from eval.benchmark.plan import Suspect

RECORD = "training.json"


def train_suspect(suspect: Suspect, base: str, base_weights: Sequence[str], data: Path, work: Path) -> None:
    """Fine-tune it if it is not there yet, or not whole.

    Raises:
        UserError: if a picture has changed since it was prepared, or the disk is full.
    """
    folder = suspect.folder(work, base_weights)
    if find_damage(folder) is None:
        return
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    pictures = [read_checked(data, p) for p in suspect.pictures]
    try:
        finetune(open_checkpoint(base, "base model").fetch(), pictures, temporary / "checkpoint", suspect.config)
        record = {
            "suspect": suspect.name,
            "base": list(base_weights),
            "pictures": [asdict(p) for p in suspect.pictures],
            "config": asdict(suspect.config),
            "files": _digests(temporary / "checkpoint"),
        }
        (temporary / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        _put(temporary, folder)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"suspect {suspect.name} could not be written below {work} ({error}). What was finished is whole: "
            "make room, then run the same command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, folder: Path) -> None:
    if folder.exists():  # damaged: out of the way first, a folder can only be renamed to a free name
        shutil.rmtree(folder)
    try:
        os.replace(temporary, folder)
    except OSError:
        if find_damage(folder) is not None:  # else another worker was first; both trained the same
            raise


def checkpoint_of(suspect: Suspect, base_weights: Sequence[str], work: Path) -> Path:
    """Its checkpoint, if it is whole.

    Raises:
        UserError: if it is not there, or a file of it is not what its training wrote.
    """
    folder = suspect.folder(work, base_weights)
    if (damage := find_damage(folder)) is not None:
        raise UserError(f"suspect {suspect.name} {damage}: run `finetune` again, which trains what is missing")
    return folder / "checkpoint"


def find_damage(folder: Path) -> str | None:
    """None if the folder holds exactly what its training wrote, else what is wrong with it."""
    if not (folder / RECORD).exists():
        return "is not trained yet"
    written = json.loads((folder / RECORD).read_text())["files"]
    found = _digests(folder / "checkpoint")
    if wrong := sorted(name for name in written.keys() | found.keys() if written.get(name) != found.get(name)):
        return f"is damaged ({wrong[0]} in {folder} is not as it was written)"
    return None


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
