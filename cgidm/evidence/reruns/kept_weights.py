"""The weights of a bank's models, as `cgidm bank` keeps them in its folder: scored again, without a training.

Whoever hands them over may be hostile. Only files with the digests that the bank states are opened. What lies beside
weights, such as a configuration, is that of a model that was trained here.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...files import hash_file
from ...intake.layout import open_checkpoint
from ...judging.banks.null_bank import Bank, NullModel
from ...messages.text import single_line
from ..bundle_reader import is_inside


@dataclass(frozen=True, kw_only=True)
class KeptModels:
    """What a folder holds of a bank's models, by their places in the bank.

    Attributes:
        unaltered: models all of whose weight files are the stated ones, and where these files are.
        altered: models of which a file is missing or another one, with what is wrong.
    """

    unaltered: Mapping[int, Mapping[str, Path]]
    altered: Mapping[int, str]


def find_kept(bank: Bank, folder: Path | None) -> KeptModels:
    """Find the weights of a bank's models below its folder; a model without any file there was not kept.

    Args:
        bank: the bank.
        folder: that `cgidm bank` wrote; None: nobody gave one.
    """
    whole: dict[int, Mapping[str, Path]] = {}
    altered: dict[int, str] = {}
    if folder is None:
        return KeptModels(unaltered={}, altered={})
    for number, model in enumerate(bank.content.models):
        files = _stated_files(folder, model)
        if not any(path.is_file() for path in files.values()):
            continue
        odd = [name for name, path in files.items() if not path.is_file() or hash_file(path) != model.sha256[name]]
        if odd:
            altered[number] = f"its kept weights are NOT the stated ones, first {single_line(odd[0])}"
        else:
            whole[number] = files
    return KeptModels(unaltered=whole, altered=altered)


def place_weights(files: Mapping[str, Path], like: Path, folder: Path) -> str | None:
    """Make the folder of a model from its weights and what lies beside those of another model.

    Args:
        files: weight files, by their names in the model's folder.
        like: folder of a model that was trained in the same way.
        folder: to be made.

    Returns:
        None, or what is wrong: one of the models has a weight file that the other has not. Then no folder is made.
    """
    weights = set(open_checkpoint(str(like)).weights)
    if odd := sorted(weights ^ files.keys()):
        return f"its weight files are NOT those of such a training, first {single_line(odd[0])}"
    shutil.copytree(like, folder, ignore=lambda here, names: [n for n in names if _is_one(like, here, n, weights)])
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _link(path.resolve(), folder / name)
    return None


def weights_difference(files: Mapping[str, Path], other: Path) -> float:
    """Compute how far the weights of two models of one kind are apart, relative to their norm.

    Args:
        files: of the first, by their names in its folder.
        other: the folder of the second.

    Returns:
        Infinity, if they cannot be compared.
    """
    apart = norm = torch.zeros((), dtype=torch.float64)
    for name, path in files.items():
        try:
            a, b = load_file(path), load_file(other / name)
        except (SafetensorError, OSError):
            return float("inf")
        if a.keys() != b.keys() or any(a[k].shape != b[k].shape for k in a):
            return float("inf")
        apart = apart + sum((a[k].double() - b[k].double()).square().sum() for k in a)
        norm = norm + sum(t.double().square().sum() for t in a.values())
    return float((apart / norm).sqrt()) if norm > 0 else float("inf")


def _stated_files(folder: Path, model: NullModel) -> Mapping[str, Path]:
    """Where the stated files would be; none if the bank names a place outside of its folder."""
    names: Sequence[str] = [model.folder, *model.sha256]
    return {n: folder / model.folder / n for n in model.sha256} if all(map(is_inside, names)) else {}


def _is_one(root: Path, here: str | os.PathLike[str], name: str, weights: set[str]) -> bool:
    return (Path(here) / name).relative_to(root).as_posix() in weights


def _link(source: Path, target: Path) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # some systems let few users make links
        shutil.copyfile(source, target)
