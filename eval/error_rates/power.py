"""What share of the used pictures is found, by how a suspect was trained. Knows answers; no model."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from cgidm.judging.power import Detectability, Kind, Trained
from cgidm.judging.verdict import LEVEL, conformal_p_value, judge
from eval.benchmark.experiment import Experiment
from eval.error_rates.scoring import Asked


def measure_power(experiment: Experiment, asked: Sequence[Asked]) -> list[Trained]:
    """One row for each training and number of pictures.

    A picture is judged against all pictures of its *other* makers that their suspects of the same training were not
    trained on: what a bank of that recipe would say. (A bank of its own maker is better; that is `rates`.)
    """
    groups: dict[tuple[str, int], list[Asked]] = {}
    for a in asked:
        groups.setdefault((a.training, sum(a.member)), []).append(a)
    return [_row(experiment, training, images, rows) for (training, images), rows in groups.items()]


def count_outcomes(experiment: Experiment, asked: Sequence[Asked], table: Detectability) -> list[dict[str, Any]]:
    """What suspects of makers that the table does not know are told, by training: shares of the three outcomes.

    Judged as in `measure_power`; a suspect's power is looked up by how far it has itself moved.
    """
    found: dict[str, Counter[str]] = {}
    for a in asked:
        moved = float(np.mean(a.shift)) if a.weight_shift is None else a.weight_shift
        power = table.power(moved, _kind(experiment, a.training))
        nulls = _nulls(a, [b for b in asked if b.training == a.training])
        outcomes = [judge(s, nulls, [], power=power).outcome for s in a.scores]
        found.setdefault(a.training, Counter()).update(outcomes)
    return [
        {"training": training, "of": total, **{k: n / total for k, n in sorted(counts.items())}}
        for training, counts in found.items()
        if (total := counts.total())
    ]


def _kind(experiment: Experiment, training: str) -> Kind:
    return "lora" if experiment.trainings[training].mode == "lora" else "dreambooth"


def _nulls(a: Asked, asked: Sequence[Asked]) -> list[float]:
    """Scores of other makers' pictures under their own suspects, of which they were left out."""
    others = [b for b in asked if b.concept != a.concept]
    return [s for b in others for m, s in zip(b.member, b.scores, strict=True) if not m]


def _row(experiment: Experiment, training: str, images: int, asked: Sequence[Asked]) -> Trained:
    how = experiment.trainings[training]
    found: dict[int, list[bool]] = {0: [], 1: []}
    for a in asked:
        nulls = _nulls(a, asked)
        for m, s in zip(a.member, a.scores, strict=True):
            found[m].append(conformal_p_value(s, nulls) <= LEVEL and s > 0)
    return Trained(
        kind=_kind(experiment, training),
        images=images,
        steps_per_picture=how.steps_per_picture,
        rank=how.rank if how.mode == "lora" else None,
        shift=float(np.mean([x for a in asked for x in a.shift])),
        weight_shift=_mean([a.weight_shift for a in asked if a.weight_shift is not None]),
        power=float(np.mean(found[1])),
        false_positives=float(np.mean(found[0])),
        members=len(found[1]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
