"""The sheet of kinds of removal: a panel for each picture, and committed numbers for each kind."""

import json

import numpy as np
import torch
from PIL import Image

from eval.studies.masks import EXAMPLE, GAP, HEAD, KINDS, MARGIN, PANEL, PANELS, draw_sheet
from tests.support.paths import EXAMPLES, RESULTS


def test_a_sheet_has_a_panel_for_each_picture():
    greys = {
        kind: [[(100 * p + 20 * k + 5 * c) / 255 for c in range(3)] for p in (0, 1)] for k, kind in enumerate(KINDS)
    }
    panels = {
        kind: [tuple(torch.full((3, 32, 32), g) for g in part) for part in parts] for kind, parts in greys.items()
    }
    sheet = np.asarray(draw_sheet(panels))
    half = len(PANELS) * PANEL
    assert sheet.shape == (HEAD + len(KINDS) * PANEL, MARGIN + 2 * half + GAP, 3)
    for row, parts in enumerate(greys.values()):
        for part, columns in enumerate(parts):
            for column, grey in enumerate(columns):
                y, x = HEAD + row * PANEL, MARGIN + part * (half + GAP) + column * PANEL
                panel = sheet[y : y + PANEL, x : x + PANEL]
                assert abs(panel.astype(float) - 255 * grey).max() <= 1


def test_the_committed_sheet_is_of_all_kinds_and_of_pictures_that_ship():
    report = json.loads((RESULTS / "masks.json").read_text())
    assert tuple(report["kinds"]) == KINDS and report["example"] == EXAMPLE
    for part, name in zip(("member", "holdout"), report["sheet"], strict=True):
        assert (EXAMPLES / EXAMPLE / part / name).is_file()
    with Image.open(RESULTS / "masks.jpg") as sheet:
        assert sheet.size == (MARGIN + 2 * len(PANELS) * PANEL + GAP, HEAD + len(KINDS) * PANEL)
