"""`python -m eval masks`: a sheet of ways to remove half of a picture, and what comes back, as Figure 4 of the paper.

A used and an unused picture of the shipped DreamBooth example, under each kind of partial representation (Sec. 4.4.1).
The settings are those of `mini-table6`, whose numbers the sheet illustrates.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score
from torch import Tensor

from cgidm.families import load_pair
from cgidm.method.config import find_preset
from cgidm.method.models import ModelPair
from cgidm.method.partial import PartialKind, make_partial
from cgidm.method.recovery import recover
from cgidm.method.sampling import picture_generator
from cgidm.method.scores import removed_alignment
from cgidm.pictures.images import Picture, read_picture, to_uint8

EXAMPLE = "gerald-g-dreambooth"
PANEL, GAP, HEAD, MARGIN = 128, 16, 34, 76  # pixels of a panel, between the halves, of captions above and on the left
QUALITY = 88  # of the JPEG
PANELS = ("original", "partial", "recovered")
KINDS: tuple[PartialKind, ...] = get_args(PartialKind)


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    report, sheet = measure_masks(o.assets)
    sheet.save(o.out / "masks.jpg", quality=QUALITY)
    (o.out / "masks.json").write_text(json.dumps(report, indent=1) + "\n")


def measure_masks(assets: Path) -> tuple[dict[str, Any], Image.Image]:
    """Recover all pictures of the example under each kind of partial representation.

    Returns:
        The mean alignment of used and unused pictures and the AUC by kind, and the sheet of the chosen two. The chosen
        ones have the median alignment of their role under the default kind.
    """
    folder = assets / "examples" / EXAMPLE
    prompt = json.loads((folder / "example.json").read_text())["prompt"]
    pair = load_pair(str(assets / "mini"), str(folder / "checkpoint"), prompt)
    paths = [sorted((folder / part).iterdir()) for part in ("member", "holdout")]
    pictures = [read_picture(path, pair.resolution) for part in paths for path in part]
    used = np.repeat([1, 0], [len(part) for part in paths])
    config = replace(find_preset("fast"), start="reencoded")
    config = replace(config, recovery=replace(config.recovery, steps=20, draws=1))
    found = {kind: _recover(pair, pictures, replace(config, partial=kind)) for kind in KINDS}
    scores = {kind: scores for kind, (_, _, scores) in found.items()}
    chosen = [_median(scores["block4"], used == role) for role in (1, 0)]
    names = [path.name for part in paths for path in part]
    rows = {
        kind: {
            **{what: round(float(s[used == role].mean()), 4) for role, what in ((1, "used"), (0, "unused"))},
            "AUC": round(float(roc_auc_score(used, s)), 4),
        }
        for kind, s in scores.items()
    }
    settings = {"preset": "fast", "start": "reencoded", "steps": 20, "draws": 1}
    report = {"example": EXAMPLE, **settings, "sheet": [names[i] for i in chosen], "kinds": rows}
    panels = {
        kind: [(pictures[i].image, start[i], back[i]) for i in chosen] for kind, (start, back, _) in found.items()
    }
    return report, draw_sheet(panels)


def _recover(pair: ModelPair, pictures: list[Picture], config: Any) -> tuple[Tensor, Tensor, np.ndarray]:
    """The partial representations and the recoveries as pictures, and the alignment of each."""
    images = torch.stack([p.image for p in pictures])
    z = pair.codec.encode(images)
    partial = make_partial(config.partial, pair.codec, images, z, config.start)
    generators = [picture_generator(config.seed, p.sha256, "recovery") for p in pictures]
    *_, last = recover(pair, z, partial, config.recovery, generators=generators)
    return pair.codec.decode(partial.start), pair.codec.decode(last.z), removed_alignment(last.z, z, partial).numpy()


def _median(scores: np.ndarray, of: np.ndarray) -> int:
    """The index of the score in the middle."""
    order = [int(i) for i in np.argsort(scores) if of[i]]
    return order[len(order) // 2]


def draw_sheet(panels: Mapping[str, Sequence[Sequence[Tensor]]]) -> Image.Image:
    """Draw a row for each kind: three panels of the used picture on the left, of the unused one on the right."""
    half = PANEL * len(PANELS)
    sheet = Image.new("RGB", (MARGIN + 2 * half + GAP, HEAD + len(panels) * PANEL), "white")
    pen = ImageDraw.Draw(sheet)
    for part, title in enumerate(("used in the training", "not used")):
        left = MARGIN + part * (half + GAP)
        pen.text((left + 2, 2), title, fill="black")
        for column, caption in enumerate(PANELS):
            pen.text((left + column * PANEL + 2, 18), caption, fill="black")
        for row, (kind, pairs) in enumerate(panels.items()):
            pen.text((4, HEAD + row * PANEL + PANEL // 2 - 6), kind.replace("_", " "), fill="black")
            for column, image in enumerate(pairs[part]):
                panel = Image.fromarray(to_uint8(image[None])[0]).resize((PANEL, PANEL), Image.Resampling.LANCZOS)
                sheet.paste(panel, (left + column * PANEL, HEAD + row * PANEL))
    return sheet
