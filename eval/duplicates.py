"""Near-duplicates: two pictures of which one tells too much about the other to stand on either side of a split.

The paper (Sec. 4) calls pictures near-duplicates whose CLIP embeddings have a cosine above 0.90, and drops them from
WikiArt. Where CLIP's weights are not at hand a perceptual hash takes its place: it finds other encodings, sizes and
slight edits of one picture, and not, as CLIP does, a second picture of one motif. Which rule is used is part of an
experiment and never depends on the machine: the same experiment has the same split everywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imagehash
import numpy as np
import torch
from torchvision.transforms.v2.functional import to_pil_image

from cgidm.errors import UserError
from cgidm.images import read_picture
from cgidm.similarity import Embedder, load_embedders

CLIP_COSINE = 0.90  # the paper's
HASH_DISTANCE = 6  # of 64 bits
CLIP_SIDE, HASH_SIDE = 224, 64  # pixels of the centre square that a rule looks at
BATCH = 32  # pictures embedded at once


Near = Literal["clip", "phash", "none"]


@dataclass(frozen=True, eq=False)
class Rule:
    """When two pictures are near-duplicates."""

    name: str  # says it whole: measure and limit
    alike: Callable[[Sequence[Path]], np.ndarray]  # n pictures -> n n of bool, symmetric


def near_duplicates(pictures: Sequence[Path], rule: Rule) -> dict[Path, Path]:
    """The pictures to drop, each with the earlier one, kept, that it resembles; no two of the rest are alike.

    The order given decides: the first of a pair stays. A picture that resembles only dropped ones stays.

    Raises:
        UserError: if a picture cannot be read.
    """
    if not pictures:
        return {}
    alike = rule.alike(pictures)
    kept: list[int] = []
    dropped: dict[Path, Path] = {}
    for i, picture in enumerate(pictures):
        twin = next((k for k in kept if alike[i, k]), None)
        if twin is None:
            kept.append(i)
        else:
            dropped[picture] = pictures[twin]
    return dropped


def find_rule(name: Near) -> Rule:
    """The rule of that name. Nothing is downloaded.

    Raises:
        UserError: if CLIP is asked for and its weights are not on this machine.
    """
    if name == "none":
        return Rule("none", lambda pictures: np.zeros((len(pictures), len(pictures)), dtype=bool))
    if name == "phash":
        return hash_rule()
    embedders = load_embedders()
    if "clip" not in embedders.ready:
        raise UserError(
            f'near_duplicates is "clip", and CLIP is {embedders.missing["clip"]}; accepted: its weights in the cache '
            '(`python -m cgidm authenticate ... --download` fetches them), or "phash" in the experiment'
        )
    return clip_rule(embedders.ready["clip"])


def clip_rule(embedder: Embedder, above: float = CLIP_COSINE) -> Rule:
    """Near-duplicates are pictures whose embeddings have a cosine above `above`."""

    def alike(pictures: Sequence[Path]) -> np.ndarray:
        batches = [pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH)]
        images = (torch.stack([read_picture(p, CLIP_SIDE).image for p in batch]) for batch in batches)
        vectors = torch.cat([embedder(batch).cpu() for batch in images])
        return (vectors @ vectors.T > above).numpy()

    return Rule(f"CLIP cosine above {above:.2f}", alike)


def hash_rule(within: int = HASH_DISTANCE) -> Rule:
    """Near-duplicates are pictures whose 64-bit perceptual hashes differ in at most `within` bits."""

    def alike(pictures: Sequence[Path]) -> np.ndarray:
        images = (to_pil_image(read_picture(p, HASH_SIDE).image) for p in pictures)
        bits = np.stack([imagehash.phash(image).hash.ravel() for image in images])
        return (bits[:, None] != bits[None]).sum(-1) <= within

    return Rule(f"pHash of 64 bits within {within}", alike)
