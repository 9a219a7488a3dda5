"""Training pictures by their digests, and random splits that depend on nothing but these digests and a seed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import hash_file


@dataclass(frozen=True)
class PictureFile:
    """One picture file.

    Attributes:
        file: its path below a data folder, with forward slashes.
        sha256: SHA-256 of the file's bytes.
    """

    file: str
    sha256: str


def rank_by_seed(pictures: Sequence[PictureFile], seed: int, dataset: str, concept: str) -> list[PictureFile]:
    """Return the pictures in a random order.

    The rank of a picture is a hash of its bytes, the seed and the two names. Other pictures do not change it, nor does
    the file's name.
    """

    def rank(picture: PictureFile) -> tuple[str, str]:
        text = json.dumps((seed, dataset, concept, picture.sha256))  # no two sets of names run together
        return hashlib.sha256(text.encode()).hexdigest(), picture.file

    return sorted(pictures, key=rank)


def split_in_halves(
    pictures: Sequence[PictureFile], seed: int, dataset: str, concept: str
) -> tuple[list[PictureFile], list[PictureFile]]:
    """Split the pictures at random into halves A and B; half A gets the odd one.

    Ranks go to A and B alternately. A larger selection therefore moves no picture to the other half.
    """
    ranked = rank_by_seed(pictures, seed, dataset, concept)
    return ranked[0::2], ranked[1::2]


def locate_picture(data: Path, picture: PictureFile) -> Path:
    """Return the path of a picture below `data`, after a check that its bytes have not changed.

    Raises:
        UserError: if the file is gone, cannot be read, or holds other bytes.
    """
    path = data / picture.file
    try:
        digest = hash_file(path)
    except FileNotFoundError:
        raise UserError("training.picture_gone", path=str(path)) from None
    except OSError as error:
        raise UserError("training.picture_unreadable", path=str(path), reason=str(error.strerror)) from None
    if digest != picture.sha256:
        raise UserError("training.picture_changed", path=str(path))
    return path
