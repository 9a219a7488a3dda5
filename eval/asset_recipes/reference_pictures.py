"""The reference pictures: freely licensed pictures of many hands, for the mirror test of any suspect.

Of each hand there are at most three. Left out are signs, flags and maps, pictures that are nearly their own mirror
image (they test little), near-duplicates, and the authors of the shipped examples, whose suspects learnt their works.
"""

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from cgidm.pictures.duplicates import perceptual_hash
from cgidm.pictures.images import from_uint8
from eval.asset_recipes.corpus import EXAMPLE_AUTHORS, Source, find_cliparts, is_sane, square_picture

RESOLUTION = 512  # pixels of a shipped picture
COUNT = 160
SUBJECTS = {"animals", "buildings", "computer", "education", "electronics", "food", "people", "plants", "recreation"}
SUBJECTS |= {"tools", "transportation"}  # folders of the Open Clip Art Library
SIGNS = re.compile(r"aiga|turn|keep|yield|one_?way|warning|parking|flag|bordered|simple_._|cymru|sign|piano_keys")
MOST_OF_ONE_HAND = 3
LEAST_SIDE = 128  # pixels of the shorter side of an original
LEAST_COVERED = 0.35  # share of the square that is not background
LEAST_ASYMMETRY = 0.12  # mean absolute difference from the mirror image, in [0, 1]
NEAR_DUPLICATE_BITS = 10  # of 64, in the picture or in its mirror image


def build_reference_pictures(openclipart: Path, photographs: Path, out: Path) -> None:
    """Write the pictures and their `SOURCES.csv` to `out`.

    Args:
        openclipart: the trees of Debian's packages, see `corpus.find_cliparts`.
        photographs: a folder with `SOURCES.csv` whose pictures may be shipped; its drawings are left out.
        out: folder of the pictures.
    """
    out.mkdir(parents=True, exist_ok=True)
    hashes: list[np.ndarray] = []
    rows, works = [], Counter({author.casefold(): MOST_OF_ONE_HAND for author in EXAMPLE_AUTHORS})
    drawings = (s for s in find_cliparts(openclipart) if SUBJECTS & set(s.path.relative_to(openclipart).parts))
    for source in chain(_photographs(photographs), drawings):
        hand = source.author.casefold()
        enough = hand and works[hand] == MOST_OF_ONE_HAND
        if enough or SIGNS.search(source.path.stem.lower()) or not is_sane(source.path):
            continue
        picture = square_picture(source.path, RESOLUTION)
        if not _is_suitable(source.path, picture) or _is_known(picture, hashes):
            continue
        works[hand] += 1
        name = f"{len(rows):03d}-{re.sub(r'[^a-z0-9]+', '-', source.path.stem.lower()).strip('-')[:40]}.jpg"
        picture.save(out / name, quality=85, optimize=True)
        rows.append((name, source.author, source.licence))
        if len(rows) == COUNT:
            break
    with (out / "SOURCES.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("file", "author", "licence"), *rows])
    print(f"{len(rows)} pictures in {out}")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    build_reference_pictures(options.openclipart, options.photographs, options.out)


def _photographs(folder: Path) -> Iterator[Source]:
    with (folder / "SOURCES.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if not row["file"].startswith("openclipart/"):
                yield Source(folder / row["file"], "", row["author"], f"{row['licence']}; {row['package']}")


def _is_suitable(path: Path, picture: Image.Image) -> bool:
    with Image.open(path) as original:
        if min(original.size) < LEAST_SIDE:
            return False
    pixels = np.asarray(picture, dtype=float) / 255
    covered = (abs(pixels - np.median(pixels[:4].reshape(-1, 3), axis=0)).max(-1) > 0.05).mean()
    return covered >= LEAST_COVERED and abs(pixels - pixels[:, ::-1]).mean() >= LEAST_ASYMMETRY


def _is_known(picture: Image.Image, hashes: list[np.ndarray]) -> bool:
    """Whether it, or its mirror image, is nearly one that was kept; if not, it is kept."""
    pixels = np.asarray(picture)
    codes = [perceptual_hash(from_uint8(np.ascontiguousarray(p))) for p in (pixels, pixels[:, ::-1])]
    if any((code != other).sum() <= NEAR_DUPLICATE_BITS for code in codes for other in hashes):
        return True
    hashes.append(codes[0])
    return False
