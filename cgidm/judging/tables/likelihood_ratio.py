"""How much likelier is a score of the mirror test if the picture was used than if it was not?

A p-value says how rare the score is among pictures that were not used. The ratio also asks how often pictures that were
used score so. That depends on how strongly the suspect was trained, so adapters are looked up by their distance from
the base, as in `power`. The ratio is a logistic regression on the score, the logarithm of the distance, and their
product, with equal weights of used and unused pictures (calibrated score-based likelihood ratios; Morrison 2013,
https://doi.org/10.1080/00450618.2012.733025). `python -m eval likelihood` fits it and counts how well it holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat

from .files import read_tables

TABLE = "mirror_likelihood.json"
LOW = 0.05  # quantile over resampled artists that is stated beside a ratio

Coefficients = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]  # of 1, the score, the distance, the product


@dataclass(frozen=True)
class LikelihoodRatio:
    """How much likelier a score is of a used picture.

    Attributes:
        ratio: the estimate.
        low: the quantile `LOW` of estimates over resampled artists.
    """

    ratio: float
    low: float


class LikelihoodTable(BaseModel):
    """The regression of one base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: tuple[str, ...]  # SHA-256 of its weight files, sorted
    draws: int  # of the mirror test
    distances: tuple[FiniteFloat, FiniteFloat]  # of the weakest and the strongest suspects that were measured
    highest_unused: FiniteFloat  # no score counts for more than the highest of a picture that was not used
    coefficients: Coefficients
    resampled: tuple[Coefficients, ...]  # of fits over resampled artists

    def ratio(self, score: float, distance: float) -> LikelihoodRatio | None:
        """Look a score up; None if the suspect is weaker than any that was measured.

        Args:
            score: of the mirror test.
            distance: of the adapter's predictions from its base's; a stronger one counts as the strongest measured.
        """
        weakest, strongest = self.distances
        if not distance >= weakest:
            return None
        features = regressors(min(score, self.highest_unused), min(distance, strongest))
        logs = np.array([self.coefficients, *self.resampled]) @ features
        return LikelihoodRatio(exp(logs[0]), exp(float(np.quantile(logs[1:], LOW))))


@dataclass(frozen=True)
class SuspectLikelihood:
    """What a base's table says of scores under one suspect."""

    table: LikelihoodTable
    distance: float

    def ratio(self, score: float) -> LikelihoodRatio | None:
        """The ratio of a picture's score. None if it does not speak for training, with other artists, too.

        A ratio below 1 is never stated: under a suspect whose trainer mirrored its pictures, used ones score like
        unused ones, and files seldom say whether that was done.
        """
        found = self.table.ratio(score, self.distance)
        return None if found is None or min(found.ratio, found.low) <= 1 else found


def regressors(score: float, distance: float) -> np.ndarray:
    """What the coefficients are multiplied by."""
    return np.array([1.0, score, log(distance), score * log(distance)])


def find_likelihood(
    weights: Sequence[str],
    draws: int,
    distances: Sequence[float],
    weight_distance: float | None,
    *,
    prompts: int = 1,
    others: int = 0,
    unused: int = 0,
    folder: Path | None = None,
) -> SuspectLikelihood | None:
    """Find what is known of scores under such a suspect; None if it was never measured.

    Args:
        weights: SHA-256 of the weight files of base and suspect.
        draws: of the mirror test; a table with another number is not comparable.
        distances: of the suspect's predictions from its base's, for each picture; they are looked up by their mean.
        weight_distance: of a full network, for which no ratio was measured; None of an adapter.
        prompts: how many the run has; the ratios were measured with one.
        others: how many adapters both sides have; the ratios were measured with none.
        unused: how many tensors of the adapter are not in use; the ratios were measured with whole ones.
        folder: where the table lies; by default, where everything that ships lies.

    Raises:
        UserError: if the file is damaged.
    """
    if weight_distance is not None or prompts > 1 or others or unused or not distances:
        return None
    tables = read_tables(LikelihoodTable, TABLE, "judging.damaged_likelihood_table", folder)
    table = next((t for t in tables if set(t.base) <= set(weights) and t.draws == draws), None)
    return None if table is None else SuspectLikelihood(table, sum(distances) / len(distances))
