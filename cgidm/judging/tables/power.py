"""What a negative answer is worth: how many used pictures would be found in a suspect that was trained so strongly.

The power was measured for each base. Suspects were trained with more and fewer steps, ranks and pictures. For each of
these trainings the table holds the distance of its suspects from the base, and the share of used pictures that was
found at 5 % false positives. How a suspect was trained is seldom known, so it is looked up by its distance: an adapter
by its predictions, a full network by its weights (`distance`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat

from ..null_bank import Bank
from ..residuals import bank_power
from .files import read_tables

TABLE = "detectability.json"
DISTANCE_KEYS = AliasChoices("prediction_distance", "shift")
WEIGHT_KEYS = AliasChoices("weight_distance", "weight_shift")
Kind = Literal["lora", "dreambooth"]  # an adapter on the base's network; a full network


class PowerRow(BaseModel):
    """One training, measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    kind: Kind
    images: int
    steps_per_picture: int
    rank: int | None
    # means over its suspects, by the older keys of the file; the second is None of adapters
    prediction_distance: float = Field(validation_alias=DISTANCE_KEYS, serialization_alias="shift")
    weight_distance: float | None = Field(None, validation_alias=WEIGHT_KEYS, serialization_alias="weight_shift")
    power: float  # share of used pictures found at `level`
    false_positives: float  # share of pictures not used that were found, too
    members: int  # decisions behind `power`

    @property
    def distance_from_base(self) -> float:
        """The distance by which suspects of its kind are looked up."""
        return self.prediction_distance if self.weight_distance is None else self.weight_distance


class PowerCurve(BaseModel):
    """The share of used pictures that a test finds in nearly all suspects so far from their base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: Literal["mirror", "controls"]
    kind: Kind
    distances: tuple[PositiveFloat, ...]  # ascending; the first one is that of the weakest suspect that was measured
    shares: tuple[FiniteFloat, ...]  # at these distances, non-decreasing

    def share(self, distance: float) -> float | None:
        """Look a suspect up: the share at the next smaller distance. None if it is weaker than any that was measured."""
        weaker = [share for at, share in zip(self.distances, self.shares, strict=True) if at <= distance]
        return weaker[-1] if weaker else None


class PowerTable(BaseModel):
    """The table of one base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: tuple[str, ...]  # SHA-256 of its weight files, sorted
    level: float
    rows: tuple[PowerRow, ...]  # means, by training
    curves: tuple[PowerCurve, ...] = ()  # what verdicts look up

    def power(self, distance: float, kind: Kind) -> float | None:
        """Look up the expected power: a non-decreasing function of the logarithm of the distance.

        Between the rows of its kind it is interpolated, beyond them constant.

        Args:
            distance: the mean of `prediction_distance` for an adapter, `weight_distance` for a full network.
            kind: adapter or full network.

        Returns:
            A share, or None without rows of that kind.
        """
        rows = sorted((r for r in self.rows if r.kind == kind), key=lambda r: r.distance_from_base)
        if not rows:
            return None
        x = np.log([r.distance_from_base for r in rows])
        y = _non_decreasing([r.power for r in rows], [r.members for r in rows])
        return float(np.interp(np.log(max(distance, 1e-30)), x, y))


def find_power_table(weights: Sequence[str], folder: Path | None = None) -> PowerTable | None:
    """Find the table of the base that these weight files (SHA-256) hold; None if it was never measured.

    Args:
        weights: SHA-256 of the base's weight files.
        folder: where the table lies; by default, where everything that ships lies.

    Raises:
        UserError: if the file is damaged.
    """
    tables = read_tables(PowerTable, TABLE, "judging.damaged_power_table", folder)
    return next((t for t in tables if set(t.base) <= set(weights)), None)


def expect_power(
    weights: Sequence[str],
    distances: Sequence[float],
    weight_distance: float | None = None,
    bank: Bank | None = None,
    *,
    looked_at_twice: bool = False,
    prompts: int = 1,
    others: int = 0,
    unused: int = 0,
) -> float | None:
    """Return the share of used pictures found in a suspect so strongly trained; None if it was never measured.

    The base's table of power and the bank's own members each give one; the smaller counts.

    Args:
        weights: SHA-256 of the weight files of base and suspect.
        distances: of the suspect's predictions from its base's, for each picture. An adapter is looked up by their
            mean, a full network by its weights. Without any, nothing is looked up.
        weight_distance: of a full network from its base; None of an adapter.
        bank: null models of this suspect, if there are any.
        looked_at_twice: some picture is also looked at as its centre square. The power was measured with one look.
        prompts: how many the run has. The power was measured with one.
        others: adapters that are on both sides. The power was measured without any.
        unused: tensors of the suspect that are not in use. The power was measured with all.
    """
    if looked_at_twice or prompts > 1 or others or unused:
        return None
    table = find_power_table(weights)
    looked_up = None
    if table is not None and distances:
        mean = sum(distances) / len(distances)
        looked_up = table.power(mean, "lora") if weight_distance is None else table.power(weight_distance, "dreambooth")
    known = (looked_up, None if bank is None else bank_power(bank.content))
    return min((p for p in known if p is not None), default=None)


def _non_decreasing(values: Sequence[float], weights: Sequence[int]) -> np.ndarray:
    """Find the nearest non-decreasing sequence (pool adjacent violators; scikit-learn's)."""
    from sklearn.isotonic import isotonic_regression

    return isotonic_regression(np.asarray(values, float), sample_weight=np.asarray(weights, float))
