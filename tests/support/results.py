"""Results that nothing was computed for, and the words of a report on them."""

from dataclasses import replace

import torch

from cgidm.evidence.reports.blocks import NewPage, Pictures, ScoreStrip, Table
from cgidm.framing.frame import CentreSquare
from cgidm.judging.flags import PictureChecks, RunChecks, stopped_flag
from cgidm.judging.judge_pictures import judge_pictures
from cgidm.judging.result import MeasuredPicture, Result
from cgidm.judging.tables.power import PowerRow
from cgidm.messages import Note
from cgidm.method.config import PRESETS
from cgidm.pictures.images import Picture
from cgidm.run.provenance import describe_machine
from tests.support.worlds import world

HOSTILE = "<script>alert(1)</script>\"'&.png"
HOSTILE_NOTE = Note("pictures.credentials_signer", {"names": HOSTILE})
RECOVERED = {"removed_cosine": 0.5, "removed_gain": 0.1, "removed_alignment": 0.2}  # scores that no verdict rests on
CONTROL_SCORES = tuple(i / 40 for i in range(40))


def result_of(scores, steps=1000, shift=None, power=None, *, mirror=None, mirror_scores=(), controlled=True):
    """A result of pictures with these scores, judged against `CONTROL_SCORES`; stopped if `steps` is below 1000.

    With `mirror` (a reference, or why the test is silent) also by the mirror test; if not `controlled`, by it alone.
    """
    g = torch.Generator().manual_seed(0)
    flags = () if steps == 1000 else (stopped_flag(steps, 1000),)
    measured = []
    for number, score in enumerate(scores):
        known = {"mirror": mirror_scores[number]} if mirror_scores else {}
        images = [torch.rand(3, 16, 16, generator=g) for _ in range(3)]
        measured.append(
            MeasuredPicture(
                picture=Picture(HOSTILE, "a" * 64, images[0], (HOSTILE_NOTE,)),
                scores={**known, "loss_contrast": score, **RECOVERED} if steps == 1000 else {},
                flags=flags,
                partial=images[1],
                recovered=images[2],
                contrast=(0.5,) * steps,
                distance_from_base=shift,
                checks=PictureChecks(round_trip=0.1, gradient_ratio=0.5),
            )
        )
    nulls = CONTROL_SCORES if controlled else ()
    controls = tuple(Picture(f"{i}.png", f"{i:064x}", torch.rand(3, 16, 16, generator=g)) for i in range(len(nulls)))
    pictures, together = judge_pictures(measured, nulls, mirror=mirror, power=power)
    return Result(
        pictures=pictures,
        control_scores=nulls,
        mirror=mirror,
        not_computed={},
        config=PRESETS["paper"] if mirror is not None else replace(PRESETS["paper"], mirror_draws=0),
        fingerprints={},
        seconds=1.0,
        together=together,
        machine=describe_machine(world(0)[0]),
        controls=controls,
        expected_power=power,
        control_power=power,
        framing=CentreSquare(resolution=16),
        checks=RunChecks(base_vs_itself=0.0, noted_framing=CentreSquare(resolution=16)),
        mirrored_training=mirror == Note("judging.mirror.flips") or None,
    )


def power_row(distance, power, members=80, **changes):
    settings = {"kind": "lora", "images": 10, "steps_per_picture": 60, "rank": 16, "false_positives": 0.05}
    return PowerRow(prediction_distance=distance, power=power, members=members, **{**settings, **changes})


def block_texts(block):
    """Every text of a block of a report."""
    match block:
        case ScoreStrip():
            return [block.caption]
        case Table(rows):
            return [cell for row in rows for cell in row]
        case Pictures(files):
            return [caption for caption, _ in files]
        case NewPage():
            return []
    return [getattr(block, "text", ""), *getattr(block, "items", ())]
