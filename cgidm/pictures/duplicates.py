"""Near-duplicates: two pictures that are one, in another encoding, size or slight edit.

A perceptual hash decides, since it needs no weights. It does not find a second picture of one motif, a mirrored one,
nor a crop.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy.fft import dctn
from torch import Tensor

HASH_DISTANCE = 6  # of 64 bits
GREY_SIDE, FREQUENCIES = 32, 8


def perceptual_hash(image: Float[Tensor, "3 H W"]) -> Bool[np.ndarray, "64"]:
    """64 bits of a square in [0, 1]: which of its lowest frequencies lie above their median (pHash; Zauner 2010).

    The same bits as `imagehash.phash`, with neither that package nor its own dependencies.
    """
    pixels = (image.clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()
    grey = Image.fromarray(pixels).convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.LANCZOS)
    low = np.asarray(dctn(np.asarray(grey, dtype=float)))[:FREQUENCIES, :FREQUENCIES]
    return (low > np.median(low)).ravel()


def alike(
    images: Sequence[Float[Tensor, "3 _ _"]],
    others: Sequence[Float[Tensor, "3 _ _"]] | None = None,
    within: int = HASH_DISTANCE,
) -> Bool[np.ndarray, "n m"]:
    """Which of `images` are near-duplicates of which of `others` (None: of each other)."""
    rows = _hashes(images)
    columns = rows if others is None else _hashes(others)
    return (rows[:, None] != columns[None]).sum(-1) <= within


def first_alike(table: Bool[np.ndarray, "n n"]) -> list[int]:
    """The picture that each one counts as: itself, or an earlier one that it resembles and that counts as itself.

    The order given decides, and nothing else. A picture that resembles only pictures that do not count stays.
    """
    kept: list[int] = []
    found: list[int] = []
    for i in range(len(table)):
        twin = next((k for k in kept if table[i, k]), i)
        found.append(twin)
        if twin == i:
            kept.append(i)
    return found


def tie_notes(names: Sequence[str], first: Sequence[int]) -> list[tuple[str, ...]]:
    """What each picture's notes say of the ones that it counts as one with; `first` is that of `first_alike`."""
    notes = []
    for i, own in enumerate(first):
        twins = [names[j] for j, other in enumerate(first) if other == own and j != i]
        said = f"nearly the same picture as {', '.join(twins)}: in the answer for all together they count as one"
        notes.append((said,) if twins else ())
    return notes


def copy_notes(names: Sequence[str]) -> tuple[str, ...]:
    """What a picture's notes say of the control pictures, of these `names`, that are its near-duplicates."""
    said = "nearly the same picture as control {}, which is not used: no picture is asked about and known at once"
    return tuple(said.format(name) for name in names)


def _hashes(images: Sequence[Tensor]) -> Bool[np.ndarray, "n 64"]:
    return np.array([perceptual_hash(image) for image in images], dtype=bool).reshape(-1, FREQUENCIES**2)
