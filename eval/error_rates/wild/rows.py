"""The rows of `eval wild`: how the suspects are made, what their files note, and how their pictures are framed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from eval.error_rates.alteration import UNALTERED, Alteration
from eval.error_rates.foreign_trainer import ForeignConfig

LABORATORY = "laboratory"  # the training that the others deviate from
FOREIGN = ForeignConfig(convolutions=True, alpha=8)
ALTERATIONS = (
    *(Alteration(scale=0.5), Alteration(scale=2.0), Alteration(noise=0.25), Alteration(merged=True)),
    *(Alteration(rank=4), Alteration(filtered=0.5), Alteration(fp8=True)),
)
BUCKET_NOTES = {
    "ss_enable_bucket": "True",
    "ss_resolution": "(128, 128)",
    "ss_min_bucket_reso": "64",
    "ss_max_bucket_reso": "256",
    "ss_bucket_no_upscale": "False",
    "ss_random_crop": "False",
    "ss_bucket_info": json.dumps({"buckets": {"0": {"resolution": [112, 144], "count": 1}}}),
}


@dataclass(frozen=True, kw_only=True)
class WildRow:
    """One kind of suspect.

    Attributes:
        name: in the table.
        training: of the experiment; None: `FOREIGN`.
        alteration: of the trained file.
        notes: what the file's header says of its training.
        framing: what the user states of it, one of `cgidm.run.plan.FRAMINGS`.
    """

    name: str
    training: str | None = LABORATORY
    alteration: Alteration = UNALTERED
    notes: Mapping[str, str] = field(default_factory=dict)
    framing: Literal["notes", "square"] = "square"


def wild_rows(trainings: Mapping[str, object]) -> list[WildRow]:
    """The rows of an experiment with these trainings.

    Every training is a row, its pictures framed as they were. Some are rows twice: with the notes that trainers write,
    and without. The laboratory's suspects are also altered.
    """
    rows = [_plain(name) for name in trainings]
    if "buckets" in trainings:
        rows.append(WildRow(name="buckets, no notes", training="buckets", framing="notes"))
    if "flips" in trainings:
        rows.append(WildRow(name="flips, no notes", training="flips"))
    if LABORATORY in trainings and len(trainings) > 1:
        rows.append(WildRow(name="squares, no notes", framing="notes"))
        rows.append(WildRow(name="another trainer", training=None))
        rows += [WildRow(name=how.name, alteration=how) for how in ALTERATIONS]
    return rows


def _plain(training: str) -> WildRow:
    match training:
        case "buckets" | "Civitai":
            return WildRow(name=training, training=training, notes=BUCKET_NOTES, framing="notes")
        case "flips":
            return WildRow(name=training, training=training, notes={"ss_flip_aug": "True"})
        case _:
            return WildRow(name=training, training=training)
