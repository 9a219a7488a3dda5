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

import numpy as np
import torch

from cgidm.errors import UserError
from cgidm.pictures.duplicates import HASH_DISTANCE, near_duplicates, representatives
from cgidm.pictures.embedders import Embedder, load_embedders
from cgidm.pictures.images import read_picture

CLIP_COSINE = 0.90  # the paper's
CLIP_SIDE, HASH_SIDE = 224, 64  # pixels of the centre square that a rule looks at
BATCH = 32  # pictures embedded at once


Near = Literal["clip", "phash", "none"]


@dataclass(frozen=True, eq=False)
class Rule:
    """When two pictures are near-duplicates."""

    name: str  # says it whole: measure and limit
    matches: Callable[[Sequence[Path]], np.ndarray]  # n pictures -> n n of bool, symmetric


def find_near_duplicates(pictures: Sequence[Path], rule: Rule) -> dict[Path, Path]:
    """The pictures to drop, each with the earlier one that represents it; no two of the rest are near-duplicates.

    The order given decides: the first of a pair stays. A picture that resembles only dropped ones stays.

    Raises:
        UserError: if a picture cannot be read.
    """
    if not pictures:
        return {}
    first = representatives(rule.matches(pictures))
    return {picture: pictures[k] for i, (picture, k) in enumerate(zip(pictures, first, strict=True)) if k != i}


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
        raise UserError("benchmark.clip_missing", reason=embedders.missing["clip"])
    return clip_rule(embedders.ready["clip"])


def clip_rule(embedder: Embedder, above: float = CLIP_COSINE) -> Rule:
    """Near-duplicates are pictures whose embeddings have a cosine above `above`."""

    def by_cosine(pictures: Sequence[Path]) -> np.ndarray:
        batches = [pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH)]
        images = (torch.stack([read_picture(p, CLIP_SIDE).image for p in batch]) for batch in batches)
        vectors = torch.cat([embedder(batch).cpu() for batch in images])
        return (vectors @ vectors.T > above).numpy()

    return Rule(f"CLIP cosine above {above:.2f}", by_cosine)


def hash_rule(within: int = HASH_DISTANCE) -> Rule:
    """Near-duplicates are pictures whose 64-bit perceptual hashes differ in at most `within` bits."""

    def by_hash(pictures: Sequence[Path]) -> np.ndarray:
        return near_duplicates([read_picture(p, HASH_SIDE).image for p in pictures], within=within)

    return Rule(f"pHash of 64 bits within {within}", by_hash)
