"""The stage `embeddings`: pictures that ship, as each embedder sees them, beside values that are known.

`known_embeddings.json` holds values that were measured elsewhere, by embedder and the SHA-256 of its weights. Where it
has none, the values are recorded, and the page says that nothing is known of them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cgidm.files import hash_file
from cgidm.pictures.embedders import SOURCES, load_embedders
from cgidm.pictures.images import read_picture
from cgidm.resources import reference_files
from eval.reality.stages import Sitting

KNOWN = Path(__file__).with_name("known_embeddings.json")
PICTURES = 4  # the first reference pictures: photographs
NUMBERS = 8  # of each embedding: the first ones
PIXELS = 224  # a side
TOLERANCE = 2e-3  # of a number of a unit vector: another processor differs in the fourth digit


def embed_shipped_pictures(sitting: Sitting) -> dict[str, Any]:
    """Embed the pictures; a number, the cosines between them, and the largest difference from what is known."""
    files = reference_files()[:PICTURES]
    images = torch.stack([read_picture(file, PIXELS).image for file in files])
    known = json.loads(KNOWN.read_text(encoding="utf-8"))["embedders"]
    found: dict[str, Any] = {}
    for name, embedder in load_embedders(sitting.device).ready.items():
        values = describe(embedder(images).float().cpu())
        digest = hash_file(SOURCES[name][1](False))
        found[name] = {"weights": digest, **values, "difference": compare(values, known.get(name), digest)}
    return {"pictures": [file.name for file in files], "pixels": PIXELS, "embedders": found}


def describe(vectors: Tensor) -> dict[str, Any]:
    """The first numbers of each embedding, and the cosine of each picture with the first one."""
    return {
        "length": vectors.shape[1],
        "first": [[round(float(x), 5) for x in row[:NUMBERS]] for row in vectors],
        "cosines": [round(float(x), 5) for x in vectors @ vectors[0]],
    }


def compare(values: Mapping[str, Any], known: Mapping[str, Any] | None, weights: str) -> float | None:
    """The largest difference of a number from what is known of these very weights; None: nothing is known."""
    if known is None or known["weights"] != weights:
        return None
    pairs = [(values["cosines"], known["cosines"]), *zip(values["first"], known["first"], strict=True)]
    return max(abs(a - b) for own, others in pairs for a, b in zip(own, others, strict=True))
