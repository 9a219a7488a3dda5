"""`python -m eval mirrored`: the recovery of each shipped picture beside that of its mirror image.

A suspect that was trained on a picture, and not on its mirror image, brings back the one and not the other. The sheets
show it to anybody; the difference of the two alignments is a score of its own.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score

from cgidm.conductor import authenticate
from cgidm.families import load_pair
from cgidm.judging.result import PictureResult
from cgidm.method.config import find_preset
from cgidm.pictures.images import read_picture, to_uint8
from eval.markdown import markdown_table

SIDE, GAP, HEAD = 96, 24, 34  # pixels of a panel, between the two halves of a sheet, of the captions
QUALITY = 88  # of the JPEG
SCORES = ("removed_alignment", "alignment_difference")
PANELS = ("original", "half removed", "recovered", "from mirrored")
HALVES = {"member": "used in the training", "holdout": "not used"}


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    report = {"preset": o.preset, "examples": {}}
    for folder in sorted(p.parent for p in (o.assets / "examples").glob("*/example.json")):
        report["examples"][folder.name] = _measure(o.assets, folder, o.preset, o.out / f"{folder.name}-mirrored.jpg")
    (o.out / "mirrored.json").write_text(json.dumps(report, indent=1) + "\n")
    print(mirrored_table(report))


def _measure(assets: Path, folder: Path, preset: str, sheet: Path) -> dict[str, Any]:
    prompt = json.loads((folder / "example.json").read_text())["prompt"]
    pair = load_pair(str(assets / "mini"), str(folder / "checkpoint"), prompt)
    config = replace(find_preset(preset), mirror_draws=0, mirrored_recovery=True)
    paths = {part: sorted((folder / part).iterdir()) for part in HALVES}
    pictures = [read_picture(p, pair.resolution) for part in paths.values() for p in part]
    found = authenticate(pair, pictures, config=config).pictures
    used = np.repeat([1, 0], [len(part) for part in paths.values()])
    draw_sheet(found, used).save(sheet, quality=QUALITY)
    scores = {}
    for name in SCORES:
        values = np.array([r.scores[name] for r in found])
        means = {kind: float(values[used == role].mean()) for kind, role in (("used", 1), ("unused", 0))}
        scores[name] = {**means, "AUC": float(roc_auc_score(used, values))}
    return scores


def draw_sheet(found: Sequence[PictureResult], used: np.ndarray) -> Image.Image:
    """Draw ten used pictures on the left and ten unused ones on the right, each with its two recoveries.

    The recovery of the mirror image is mirrored back, so that both can be compared with the original.
    """
    rows = max(int((used == role).sum()) for role in (0, 1))
    width = SIDE * len(PANELS)
    sheet = Image.new("RGB", (2 * width + GAP, HEAD + rows * SIDE), "white")
    pen = ImageDraw.Draw(sheet)
    for half, (role, title) in enumerate(zip((1, 0), HALVES.values(), strict=True)):
        left = half * (width + GAP)
        pen.text((left + 2, 2), title, fill="black")
        for column, caption in enumerate(PANELS):
            pen.text((left + column * SIDE + 2, 18), caption, fill="black")
        for row, i in enumerate(np.flatnonzero(used == role).tolist()):
            for column, image in enumerate(found[i].images.values()):
                shown = Image.fromarray(to_uint8(image)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                sheet.paste(shown, (left + column * SIDE, HEAD + row * SIDE))
    return sheet


def mirrored_table(report: dict[str, Any]) -> str:
    """The table of the docs."""
    columns = ["", "used: picture, mirror image", "unused: picture, mirror image", "AUC", "AUC of the difference"]
    rows = []
    for example, found in report["examples"].items():
        own, difference = (found[name] for name in SCORES)
        means = [f"{own[kind]:.3f}, {own[kind] - difference[kind]:.3f}" for kind in ("used", "unused")]
        rows.append([f"`{example}`", *means, f"{own['AUC']:.2f}", f"{difference['AUC']:.2f}"])
    return markdown_table(columns, rows, spaced=True) + "\n"
