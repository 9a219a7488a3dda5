"""What verdicts look up: the share of used pictures that a test finds in all but few suspects of a distance."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from sklearn.isotonic import isotonic_regression

from cgidm.judging.tables.power import Kind, PowerCurve, PowerTable

# Quantile over suspects. Those of the mirror test are of many trainings; one that none of them had errs further.
LOW = {"mirror": 0.05, "controls": 0.1}
NEAR = 0.9  # of a training's mean distance: the weights of its suspects differ by so much (`assets/banks`)
GROUP = 27  # suspects of about the same distance that a quantile is taken of

Point = tuple[Literal["mirror", "controls"], Kind, str, float, float]  # test, kind, training, distance, share


def curves(points: Sequence[Point]) -> list[PowerCurve]:
    """A curve for each test and kind: a quantile of suspects at about one distance, made non-decreasing.

    Suspects at about one distance are those of one training, where its suspects have one distance. Else they are so
    many neighbours.
    """
    found = []
    for test, kind in dict.fromkeys(p[:2] for p in points):
        own = sorted((p for p in points if p[:2] == (test, kind)), key=lambda p: p[3])
        trainings = list(dict.fromkeys(p[2] for p in own))
        if len({p[3] for p in own}) == len(trainings):
            groups = [[p[3:] for p in own if p[2] == training] for training in trainings]
            starts = [NEAR * group[0][0] for group in groups]
        else:
            ends = np.linspace(0, len(own), max(1, round(len(own) / GROUP)) + 1).round().astype(int).tolist()
            groups = [[p[3:] for p in own[a:b]] for a, b in pairwise(ends)]
            middles = [float(np.exp(np.log([at for at, _ in group]).mean())) for group in groups]
            starts = [own[0][3], *middles[1:]]
        shares = [float(np.quantile([share for _, share in group], LOW[test])) for group in groups]
        rising = isotonic_regression(shares, sample_weight=[float(len(group)) for group in groups]).tolist()
        found.append(PowerCurve(test=test, kind=kind, distances=tuple(starts), shares=tuple(rising)))
    return found


def mean_power(table: PowerTable, distance: float, kind: Kind) -> float:
    """The mean power of the table's rows: a non-decreasing function of the logarithm of the distance.

    Between the rows of its kind it is interpolated, beyond them constant.
    """
    rows = sorted((r for r in table.rows if r.kind == kind), key=lambda r: r.distance_from_base)
    x = np.log([r.distance_from_base for r in rows])
    y = isotonic_regression([r.power for r in rows], sample_weight=[float(r.members) for r in rows])
    return float(np.interp(np.log(max(distance, 1e-30)), x, y))
