"""Results that nothing was computed for, and the words of a report on them."""

import torch

from cgidm.authenticate import PictureResult, make_result
from cgidm.evidence.report_blocks import NewPage, Pictures, Strip, Table
from cgidm.judging.flags import stopped_flag
from cgidm.judging.power import Trained
from cgidm.judging.verdict import judge
from cgidm.method.config import PRESETS
from cgidm.pictures.embedders import Embedders
from cgidm.pictures.images import Picture
from tests.support.worlds import world

HOSTILE = "<script>alert(1)</script>\"'&.png"
CONTROL_SCORES = tuple(i / 40 for i in range(40))


def result_of(scores, steps=1000, shift=None):
    g = torch.Generator().manual_seed(0)
    flags = () if steps == 1000 else (stopped_flag(steps, 1000),)
    pictures = []
    for score in scores:
        images = [torch.rand(3, 16, 16, generator=g) for _ in range(3)]
        picture = Picture(HOSTILE, "a" * 64, images[0], (HOSTILE,))
        verdict = judge(score, CONTROL_SCORES, [f.note for f in flags])
        table = {"loss_contrast": score} if steps == 1000 else {}
        contrast = (0.5,) * steps
        pictures.append(PictureResult(picture, table, flags, *images[1:], verdict, contrast, shift))
    controls = tuple(
        Picture(f"{i}.png", f"{i:064x}", torch.rand(3, 16, 16, generator=g)) for i in range(len(CONTROL_SCORES))
    )
    return make_result(world(0)[0], tuple(pictures), CONTROL_SCORES, PRESETS["paper"], Embedders(), 1.0, controls)


def power_row(shift, power, members=80, **changes):
    settings = {"kind": "lora", "images": 10, "steps_per_picture": 60, "rank": 16, "false_positives": 0.05}
    return Trained(shift=shift, power=power, members=members, **{**settings, **changes})


def block_texts(block):
    """Every text of a block of a report."""
    match block:
        case Strip():
            return [block.said]
        case Table(rows):
            return [cell for row in rows for cell in row]
        case Pictures(files):
            return [caption for caption, _ in files]
        case NewPage():
            return []
    return [getattr(block, "text", ""), *getattr(block, "items", ())]
