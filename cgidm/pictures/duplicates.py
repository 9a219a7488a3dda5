"""Near-duplicates: two pictures that are one, in another encoding, size or slight edit.

A perceptual hash decides, since it needs no weights. It does not find a second picture of one motif, a mirrored one,
nor a crop. One crop is the exception: a picture and its centre square are near-duplicates, since that is how copies are
often shown, and how some runs look at pictures.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy.fft import dctn
from torch import Tensor

from ..messages import Note, note
from .images import to_uint8

HASH_DISTANCE = 6  # of 64 bits
GREY_SIDE, FREQUENCIES = 32, 8


def perceptual_hash(image: Float[Tensor, "3 H W"]) -> Bool[np.ndarray, "64"]:
    """64 bits of a picture in [0, 1], squeezed to a square: which of its lowest frequencies lie above their median.

    This is pHash (Zauner 2010).
    The bits equal those of `imagehash.phash`, without that package and its dependencies.
    """
    grey = Image.fromarray(to_uint8(image)).convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.LANCZOS)
    low = np.asarray(dctn(np.asarray(grey, dtype=float)))[:FREQUENCIES, :FREQUENCIES]
    return (low > np.median(low)).ravel()


def near_duplicates(
    images: Sequence[Float[Tensor, "3 _ _"]],
    others: Sequence[Float[Tensor, "3 _ _"]] | None = None,
    within: int = HASH_DISTANCE,
) -> Bool[np.ndarray, "n m"]:
    """Tell which of `images` are near-duplicates of which of `others`.

    Args:
        images: n pictures in [0, 1].
        others: m pictures in [0, 1]; None: compare `images` with each other.
        within: the number of bits in which the hashes of near-duplicates differ at most.
    """
    found = np.zeros((len(images), len(images if others is None else others)), dtype=bool)
    for seen in (lambda image: image, _centre):  # whole pictures, then their centre squares
        rows = _hashes([seen(image) for image in images])
        columns = rows if others is None else _hashes([seen(image) for image in others])
        found |= (rows[:, None] != columns[None]).sum(-1) <= within
    return found


def representatives(table: Bool[np.ndarray, "n n"]) -> list[int]:
    """The index of the picture that each picture counts as: itself, or an earlier near-duplicate that represents it.

    The order decides, and nothing else. A picture that only resembles pictures that others represent stands for itself.

    Args:
        table: which pictures are near-duplicates of which, as `near_duplicates` tells.
    """
    standing: list[int] = []
    found: list[int] = []
    for i in range(len(table)):
        representative = next((k for k in standing if table[i, k]), i)
        found.append(representative)
        if representative == i:
            standing.append(i)
    return found


def group_notes(names: Sequence[str], representative: Sequence[int]) -> list[tuple[Note, ...]]:
    """The notes that name, for each picture, the near-duplicates that it counts as one with.

    Args:
        names: the pictures' names.
        representative: the index that each picture counts as, from `representatives`.
    """
    notes = []
    for i, own in enumerate(representative):
        group = [names[j] for j, other in enumerate(representative) if other == own and j != i]
        notes.append((note("pictures.counts_as_one_with", names=group),) if group else ())
    return notes


def copy_notes(names: Sequence[str]) -> tuple[Note, ...]:
    """The notes that name a picture's near-duplicates among the control pictures: those of these `names`."""
    return tuple(note("pictures.copy_of_control", name=name) for name in names)


def _hashes(images: Sequence[Tensor]) -> Bool[np.ndarray, "n 64"]:
    return np.array([perceptual_hash(image) for image in images], dtype=bool).reshape(-1, FREQUENCIES**2)


def _centre(image: Tensor) -> Tensor:
    """The centre square; the picture itself, if it is one."""
    height, width = image.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return image[..., top : top + short, left : left + short]
