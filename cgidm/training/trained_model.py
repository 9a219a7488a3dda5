"""Trained models on the disk. A folder is written whole or not at all, and used only if it is what was written."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError

from ..errors import UserError
from ..files import remove_leftovers, temporary_path
from ..intake.layout import open_checkpoint
from ..messages import Note, note
from .settings import settings_to_table
from .split import PictureFile, locate_picture
from .trainable import check_trainable
from .trainer import FinetuneConfig, finetune

RECORD = "training.json"
KEY_VERSION = 2  # of what a folder's key is made of
KEY_DIGITS = 10  # of a key in the name of a folder


@dataclass(frozen=True)
class ModelPlan:
    """One model to train.

    Attributes:
        name: unique below the working folder; may hold slashes.
        config: how it is trained.
        pictures: what it is trained on.
    """

    name: str
    config: FinetuneConfig
    pictures: tuple[PictureFile, ...]

    def key(self, base_weights: Sequence[str]) -> str:
        """Return a digest of everything that the weights follow from. `base_weights` are SHA-256 digests."""
        split = [p.sha256 for p in self.pictures]
        training = settings_to_table(self.config)
        parts = {"version": KEY_VERSION, "base": list(base_weights), "split": split, "training": training}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def folder(self, work: Path, base_weights: Sequence[str]) -> Path:
        """Return the model's folder below `work`. Two plans of the same training share it."""
        return work / "suspects" / f"{self.name}-{self.key(base_weights)[:KEY_DIGITS]}"


@lru_cache(maxsize=10_000)
def weight_digests(model: str) -> tuple[str, ...]:
    """Return the SHA-256 of each weight file of a model, and of no other file in its folder."""
    checkpoint = open_checkpoint(model)
    return tuple(checkpoint.listing.sha256(file) for file in checkpoint.weights)


def train_model(
    plan: ModelPlan,
    base: str,
    base_weights: Sequence[str],
    data: Path,
    work: Path,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Train a model unless its folder is there and intact.

    Args:
        plan: the model.
        base: the base model, as `open_checkpoint` takes it.
        base_weights: `weight_digests(base)`.
        data: folder that the pictures' paths are relative to.
        work: folder that trained models are kept in.
        progress: called after each step.

    Raises:
        UserError: if the base is of a family that is not trained here, a picture has changed since it was listed, or
            the disk is full.
    """
    folder = plan.folder(work, base_weights)
    if find_damage(folder) is None:
        return
    remove_leftovers(folder)
    temporary = temporary_path(folder)
    pictures = [locate_picture(data, p) for p in plan.pictures]
    opened = open_checkpoint(base, "base model")
    check_trainable(opened)
    try:
        temporary.mkdir(parents=True)
        finetune(opened.fetch(), pictures, temporary / "checkpoint", plan.config, progress)
        record = {
            "suspect": plan.name,
            "base": list(base_weights),
            "pictures": [asdict(p) for p in plan.pictures],
            "config": settings_to_table(plan.config),
            "files": _digests(temporary / "checkpoint"),
        }
        (temporary / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        _publish(temporary, folder)
    except (OSError, SafetensorError) as error:
        raise UserError("training.not_written", model=plan.name, folder=str(work), reason=str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_checkpoint(plan: ModelPlan, base_weights: Sequence[str], work: Path) -> Path:
    """Return the checkpoint folder of a trained model.

    Raises:
        UserError: if the model is not trained, or a file is not what its training wrote.
    """
    folder = plan.folder(work, base_weights)
    if (damage := find_damage(folder)) is not None:
        raise UserError("training.not_usable", model=plan.name, damage=damage)
    return folder / "checkpoint"


def find_damage(folder: Path) -> Note | None:
    """Return None if the folder holds exactly what its training wrote, else what is wrong with it."""
    if not (folder / RECORD).exists():
        return note("training.not_trained")
    written = json.loads((folder / RECORD).read_text())["files"]
    found = _digests(folder / "checkpoint")
    if wrong := sorted(name for name in written.keys() | found.keys() if written.get(name) != found.get(name)):
        return note("training.damaged", file=wrong[0], folder=str(folder))
    return None


def _publish(temporary: Path, folder: Path) -> None:
    if folder.exists():  # damaged: removed first, since a folder can only be renamed to a free name
        shutil.rmtree(folder)
    try:
        os.replace(temporary, folder)
    except OSError:
        if find_damage(folder) is not None:  # else another worker was first; both trained the same
            raise


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
