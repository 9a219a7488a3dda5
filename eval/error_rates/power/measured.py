"""The share of used pictures that is found, by how a suspect was trained. It needs scores, no model."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from cgidm.judging.tables.power import Kind, PowerRow, PowerTable
from cgidm.judging.verdict import LEVEL, conformal_p_value, judge
from eval.benchmark.experiment import Experiment
from eval.error_rates.power.curves import mean_power
from eval.error_rates.scoring import SuspectScores


def measure_power(experiment: Experiment, scored: Sequence[SuspectScores]) -> list[PowerRow]:
    """Return one row for each training and number of pictures.

    A picture is judged against pictures by *other* artists that their own suspects of the same training left out, as in
    a bank of that recipe. A bank of the picture's own artist is better; see `rates`.
    """
    groups: dict[tuple[str, int], list[SuspectScores]] = {}
    for a in scored:
        groups.setdefault((a.training, sum(a.member)), []).append(a)
    return [_row(experiment, training, images, rows) for (training, images), rows in groups.items()]


def count_outcomes(experiment: Experiment, scored: Sequence[SuspectScores], table: PowerTable) -> list[dict[str, Any]]:
    """Return the shares of the three outcomes for suspects of artists that are not in the table, by training.

    Pictures are judged as in `measure_power`. A suspect's power is looked up by its own distance from the base.
    """
    found: dict[str, Counter[str]] = {}
    for a in scored:
        distance = float(np.mean(a.prediction_distances)) if a.weight_distance is None else a.weight_distance
        power = mean_power(table, distance, _kind(experiment, a.training))
        nulls = _nulls(a, [b for b in scored if b.training == a.training])
        outcomes = [judge(s, nulls, [], power=power).outcome for s in a.scores]
        found.setdefault(a.training, Counter()).update(outcomes)
    return [
        {"training": training, "of": total, **{k: n / total for k, n in sorted(counts.items())}}
        for training, counts in found.items()
        if (total := counts.total())
    ]


def _kind(experiment: Experiment, training: str) -> Kind:
    return "lora" if experiment.trainings[training].mode == "lora" else "dreambooth"


def _nulls(a: SuspectScores, scored: Sequence[SuspectScores]) -> list[float]:
    """Scores of other artists' pictures under their own suspects, which left them out."""
    others = [b for b in scored if b.concept != a.concept]
    return [s for b in others for m, s in zip(b.member, b.scores, strict=True) if not m]


def _row(experiment: Experiment, training: str, images: int, scored: Sequence[SuspectScores]) -> PowerRow:
    how = experiment.trainings[training]
    found: dict[int, list[bool]] = {0: [], 1: []}
    for a in scored:
        nulls = _nulls(a, scored)
        for m, s in zip(a.member, a.scores, strict=True):
            found[m].append(conformal_p_value(s, nulls) <= LEVEL and s > 0)
    return PowerRow(
        kind=_kind(experiment, training),
        images=images,
        steps_per_picture=how.steps_per_picture,
        rank=how.rank if how.mode == "lora" else None,
        prediction_distance=float(np.mean([x for a in scored for x in a.prediction_distances])),
        weight_distance=_mean([a.weight_distance for a in scored if a.weight_distance is not None]),
        power=float(np.mean(found[1])),
        false_positives=float(np.mean(found[0])),
        members=len(found[1]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
