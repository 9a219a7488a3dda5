"""The shipped examples: two clip-art authors, each with members, holdouts and control pictures of the same hand.

Controls are the author's other works: a style that the suspect learnt must not be mistaken for membership, so the
pictures that a verdict compares with share the style and were never trained on.
"""

import argparse
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cgidm.errors import UserError
from cgidm.training.trainer import FinetuneConfig, finetune
from eval.asset_recipes.corpus import Source, find_cliparts, square_picture

RESOLUTION = 256  # pixels of a shipped picture
MEMBERS = HOLDOUTS = 10
CONTROLS = 40
NEAR_DUPLICATE_BITS = 8  # of 64
LICENCE = "public domain dedication (Open Clip Art Library; Debian package openclipart-png)"


@dataclass(frozen=True)
class Example:
    """One shipped suspect."""

    name: str
    author: str
    training: FinetuneConfig


EXAMPLES = (
    Example(
        "gerald-g-dreambooth",
        "Gerald G.",
        FinetuneConfig(mode="dreambooth", prompt="sks style", steps=300, learning_rate=2e-4),
    ),
    Example(
        "rollandin-lora",
        "Architetto Francesco Rollandin",
        FinetuneConfig(mode="lora", prompt="sks style", steps=600, learning_rate=1e-3),
    ),
)


def build_examples(openclipart: Path, base: Path, assets: Path) -> None:
    """Write `examples/<name>/{checkpoint, member, holdout, example.json}` and `controls/<name>` below `assets`."""
    for example in EXAMPLES:
        folder = assets / "examples" / example.name
        chosen = distinct_works(openclipart, example.author, MEMBERS + HOLDOUTS + CONTROLS)
        parts = {
            folder / "member": chosen[:MEMBERS],
            folder / "holdout": chosen[MEMBERS : MEMBERS + HOLDOUTS],
            assets / "controls" / example.name: chosen[MEMBERS + HOLDOUTS :],
        }
        for target, sources in parts.items():
            target.mkdir(parents=True, exist_ok=True)
            for source in sources:
                name = re.sub(r"[^a-z0-9]+", "-", source.path.stem.lower()).strip("-")
                square_picture(source.path, RESOLUTION).save(target / f"{name}.jpg", quality=90)
        finetune(base, sorted((folder / "member").iterdir()), folder / "checkpoint", example.training)
        about = {
            "mode": example.training.mode,
            "prompt": example.training.prompt,
            "author": example.author,
            "licence": LICENCE,
            "training": asdict(example.training),
        }
        (folder / "example.json").write_text(json.dumps(about, indent=2) + "\n")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    build_examples(options.openclipart, options.base, options.assets)


def distinct_works(openclipart: Path, author: str, count: int) -> list[Source]:
    """The first `count` works of an author, in an order fixed by their names, without near-duplicates."""
    kept: list[Source] = []
    hashes: list[np.ndarray] = []
    for source in find_cliparts(openclipart, author):
        code = _difference_hash(source.path)
        if all((code != other).sum() > NEAR_DUPLICATE_BITS for other in hashes):
            kept.append(source)
            hashes.append(code)
        if len(kept) == count:
            return kept
    raise UserError("asset_recipes.too_few_works", artist=author, folder=str(openclipart), given=len(kept), least=count)


def _difference_hash(path: Path) -> np.ndarray:
    """64 bits: is each pixel of a 9x8 thumbnail brighter than its right neighbour?"""
    thumbnail = square_picture(path, 64).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    grey = np.asarray(thumbnail).astype(int)
    return (grey[:, 1:] > grey[:, :-1]).flatten()
