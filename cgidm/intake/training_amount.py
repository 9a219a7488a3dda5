"""How many pictures a suspect was trained on, and how often each was presented, by what its file notes.

kohya's scripts count repeats in `ss_num_train_images`: 20 pictures that are repeated 10 times an epoch are 200. The
true number stands with each folder (https://github.com/kohya-ss/sd-scripts, `train_network.py`). musubi-tuner counts
repeats in `ss_num_train_items`, and states them in `ss_datasets` (https://github.com/kohya-ss/musubi-tuner).
OneTrainer states its concepts, not how many pictures they hold; ai-toolkit and SimpleTuner state steps alone. Then the
numbers are not known, and are never guessed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from ..messages.text import single_line
from .note_values import LARGEST, read_list, read_number, read_table

REPEAT_KEYS = ("n_repeats", "num_repeats")
AGAIN = re.compile(r" \(\d+\)$")


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
    """

    folders: tuple[TrainingFolder, ...] = ()
    pictures: int | None = None
    epochs: float | None = None
    presentations: float | None = None
    batch: int | None = None


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
        items = read_number(metadata.get("ss_num_train_items")) or 0
        pictures, in_an_epoch = round(items / alike), round(items)
    presentations = in_an_epoch / pictures * epochs if pictures and epochs is not None else None
    return TrainingAmount(
        folders=folders,
        pictures=pictures or None,
        epochs=epochs,
        presentations=presentations,
        batch=_batch(metadata),
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
        pictures = _count(table.get("img_count"))
        repeats = next((n for key in REPEAT_KEYS if (n := _count(table.get(key)))), None)
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
    """The repeats of musubi's datasets, if they are all alike: it notes how many pictures there are with them."""
    found = {_count(dataset.get("num_repeats")) for dataset in read_list(metadata.get("ss_datasets"))}
    return next(iter(found)) if len(found) == 1 else None


def _epochs(metadata: Mapping[str, str]) -> float | None:
    """The epochs behind the file: by its steps, since `ss_epoch` counts one that has only begun, else by `ss_epoch`.

    With pictures of a prior a batch holds fewer of the others; batches of an epoch count that in. Accumulation ends
    with the epoch, whether it is full or not.
    """
    keys = ("ss_steps", "ss_num_batches_per_epoch", "ss_gradient_accumulation_steps", "ss_epoch")
    steps, batches, accumulated, epoch = (read_number(metadata.get(key)) for key in keys)
    if steps and batches:
        return steps / ceil(batches / max(1, accumulated or 1))
    return epoch


def _batch(metadata: Mapping[str, str]) -> int | None:
    """`ss_total_batch_size`, else that of the datasets on one device, if they are alike."""
    total = read_number(metadata.get("ss_total_batch_size"))
    if total is None:
        sizes = {_count(dataset.get("batch_size_per_device")) for dataset in read_list(metadata.get("ss_datasets"))}
        each = sizes.pop() if len(sizes) == 1 else None
        total = each and each * (read_number(metadata.get("ss_gradient_accumulation_steps")) or 1)
    return round(total) if total else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= LARGEST else None
