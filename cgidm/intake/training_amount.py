"""How many pictures a suspect was trained on, and how often each was presented, by what its file notes.

kohya's scripts count repeats in `ss_num_train_images`: 20 pictures that are repeated 10 times an epoch are 200. The
true number stands with each folder (https://github.com/kohya-ss/sd-scripts, `train_network.py`). musubi-tuner counts
repeats in `ss_num_train_items`, and states them in `ss_datasets` (https://github.com/kohya-ss/musubi-tuner).
OneTrainer states its concepts, not how many pictures they hold; ai-toolkit and SimpleTuner state steps alone. Then the
numbers are not known, and are never guessed. musubi-tuner counts a clip of a video as an item, so that the number of
items is none of pictures. Notes that contradict one another are named, and nothing is made of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil

from ..messages import Note, note
from ..messages.text import single_line
from .note_values import read_count, read_list, read_table

REPEAT_KEYS = ("n_repeats", "num_repeats")
AGAIN = re.compile(r" \(\d+\)$")
TOLERANCE = 0.1  # of numbers that are noted twice


@dataclass(frozen=True, kw_only=True)
class TrainingFolder:
    """One folder of pictures, and how often an epoch shows each of them."""

    name: str
    pictures: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class TrainingAmount:
    """What is known; None: not known.

    Attributes:
        folders: those of the training pictures, without pictures of DreamBooth's prior.
        pictures: of all folders together.
        epochs: that the file was trained for, with the fraction of the last one.
        presentations: of each picture; the mean over the pictures, where folders are repeated differently.
        batch: pictures of an optimiser step, on all devices and with accumulation.
        contradictions: notes that cannot all be true. Then presentations are not known.
    """

    folders: tuple[TrainingFolder, ...] = ()
    pictures: int | None = None
    epochs: float | None = None
    presentations: float | None = None
    batch: int | None = None
    contradictions: tuple[Note, ...] = ()


def read_amount(metadata: Mapping[str, str]) -> TrainingAmount:
    """Read what a file notes of the amount of its training.

    Args:
        metadata: the `__metadata__` of a safetensors header.
    """
    folders = tuple(_merged(_folders(metadata)))
    epochs = _epochs(metadata)
    in_an_epoch = sum(f.pictures * f.repeats for f in folders)
    pictures = sum(f.pictures for f in folders)
    if not folders and (alike := _same_repeats(metadata)) is not None:
        in_an_epoch = read_count(metadata.get("ss_num_train_items")) or 0
        pictures = round(in_an_epoch / alike)
    contradictions = tuple(_contradictions(metadata, in_an_epoch))
    return TrainingAmount(
        folders=folders,
        pictures=pictures or None,
        epochs=epochs,
        presentations=in_an_epoch / pictures * epochs if epochs and pictures and not contradictions else None,
        batch=_batch(metadata, in_an_epoch),
        contradictions=contradictions,
    )


def _folders(metadata: Mapping[str, str]) -> Iterator[TrainingFolder]:
    """Folders as `ss_dataset_dirs` names them, else the subsets of `ss_datasets`."""
    named = read_table(metadata.get("ss_dataset_dirs"))
    subsets = [
        (subset.get("image_dir") or subset.get("metadata_file"), subset)
        for dataset in read_list(metadata.get("ss_datasets"))
        for subset in read_list(dataset.get("subsets"))
        if not subset.get("is_reg")
    ]
    for name, entry in named.items() or subsets:
        table = read_table(entry)
        pictures = read_count(table.get("img_count"))
        repeats = next((n for key in REPEAT_KEYS if (n := read_count(table.get(key)))), None)
        if pictures and repeats:
            yield TrainingFolder(name=single_line(str(name or "")), pictures=pictures, repeats=repeats)


def _merged(folders: Iterable[TrainingFolder]) -> Iterator[TrainingFolder]:
    """Count a folder once that several datasets use; kohya's scripts list it as `name`, `name (2)` and so on."""
    known: dict[str, TrainingFolder] = {}
    for folder in folders:
        name = AGAIN.sub("", folder.name)
        before = known.get(name)
        if before is not None and before.pictures == folder.pictures:
            known[name] = replace(before, repeats=before.repeats + folder.repeats)
        else:
            known[folder.name] = folder
    yield from known.values()


def _same_repeats(metadata: Mapping[str, str]) -> int | None:
    """The repeats of musubi's datasets of pictures, if they are all alike: it notes how many items there are."""
    datasets = read_list(metadata.get("ss_datasets"))
    if any(key.startswith("video_") for dataset in datasets for key in dataset):
        return None
    found = {read_count(dataset.get("num_repeats")) for dataset in datasets}
    return next(iter(found)) if len(found) == 1 else None


def _steps_of_an_epoch(metadata: Mapping[str, str]) -> int | None:
    """Optimiser steps of an epoch. Accumulation ends with the epoch, whether it is full or not.

    With pictures of a prior a batch holds fewer of the others; batches of an epoch count that in.
    """
    (batches,) = _noted(metadata, "num_batches_per_epoch")
    return ceil(batches / _accumulated(metadata)) if batches else None


def _epochs(metadata: Mapping[str, str]) -> float | None:
    """The epochs behind the file: by its steps, since `ss_epoch` counts one that has only begun, else by `ss_epoch`.

    `ss_num_epochs` and `ss_max_train_steps` are what was planned: a file of an early epoch has them too. The first
    files note no steps. They ran no more than was planned, which may be less than the epoch that had begun.
    """
    steps, planned, epoch = _noted(metadata, "steps", "max_train_steps", "epoch")
    of_an_epoch = _steps_of_an_epoch(metadata)
    if steps and of_an_epoch:
        return steps / of_an_epoch
    if epoch and planned and of_an_epoch and not steps:
        return min(epoch, planned / of_an_epoch)
    return epoch


def _contradictions(metadata: Mapping[str, str], in_an_epoch: int) -> Iterator[Note]:
    """Notes that cannot all be true.

    Args:
        metadata: the notes.
        in_an_epoch: pictures with repeats, as the folders state them.
    """
    steps, epoch, counted, planned = _noted(metadata, "steps", "epoch", "num_train_images", "max_train_steps")
    batches, total = _noted(metadata, "num_batches_per_epoch", "total_batch_size")
    of_an_epoch = _steps_of_an_epoch(metadata)
    if steps and of_an_epoch and epoch:
        by_steps = steps / of_an_epoch
        if abs(by_steps - epoch) > max(1, TOLERANCE * epoch):  # the last epoch may only have begun
            yield note("intake.notes_epochs_disagree", steps=steps, by_steps=by_steps, epoch=epoch)
    if steps and planned and steps > (1 + TOLERANCE) * planned:
        yield note("intake.notes_steps_disagree", steps=steps, planned=planned)
    if in_an_epoch and counted and abs(counted - in_an_epoch) > TOLERANCE * in_an_epoch:
        yield note("intake.notes_pictures_disagree", folders=in_an_epoch, counted=counted)
    if in_an_epoch and batches and total:
        room = batches * total / _accumulated(metadata)
        if room < (1 - TOLERANCE) * in_an_epoch:
            yield note("intake.notes_batches_disagree", room=round(room), folders=in_an_epoch)


def _batch(metadata: Mapping[str, str], in_an_epoch: int) -> int | None:
    """`ss_total_batch_size`, else that of the datasets on each device, if they are alike.

    With a configuration file kohya's scripts do not note the devices. There are at least as many as an epoch's batches
    need to hold its pictures.
    """
    total, batches = _noted(metadata, "total_batch_size", "num_batches_per_epoch")
    if total is None:
        sizes = {read_count(dataset.get("batch_size_per_device")) for dataset in read_list(metadata.get("ss_datasets"))}
        each = sizes.pop() if len(sizes) == 1 else None
        devices = ceil(in_an_epoch / (batches * each)) if batches and each else 1
        total = each and each * max(1, devices) * _accumulated(metadata)
    return total


def _accumulated(metadata: Mapping[str, str]) -> int:
    """Batches of an optimiser step."""
    (noted,) = _noted(metadata, "gradient_accumulation_steps")
    return noted or 1


def _noted(metadata: Mapping[str, str], *keys: str) -> list[int | None]:
    """Whole numbers of kohya's scripts and musubi-tuner."""
    return [read_count(metadata.get(f"ss_{key}")) for key in keys]
