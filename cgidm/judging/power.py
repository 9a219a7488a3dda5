"""What a negative answer is worth: how many pictures of those used would be found, in a suspect so strongly trained.

Measured beforehand, for a base: suspects were trained with more and fewer steps, ranks and pictures; of each training
the table has how far its suspects moved from the base, and the share of used pictures that was found at 5 % false
positives. A suspect is looked up by how far it has moved, since how it was trained is seldom known: an adapter by its
answers, a whole network by its weights (`shift`).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import UserError
from ..resources import resource_root

TABLE = "detectability.json"
Kind = Literal["lora", "dreambooth"]  # an adapter on the base's network; networks of its own


class Trained(BaseModel):
    """One training, measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    images: int
    steps_per_picture: int
    rank: int | None
    shift: float  # mean over its suspects and all pictures of `prediction_shift`
    weight_shift: float | None = None  # mean over its suspects, which are whole networks
    power: float  # share of used pictures found at `level`
    false_positives: float  # share of pictures not used that were found too
    members: int  # decisions behind `power`

    @property
    def moved(self) -> float:
        """How far its suspects have moved, by the measure that tells them from others of their kind."""
        return self.shift if self.weight_shift is None else self.weight_shift


class Detectability(BaseModel):
    """The table of one base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: tuple[str, ...]  # SHA-256 of its weight files, sorted
    level: float
    rows: tuple[Trained, ...]

    def power(self, moved: float, kind: Kind) -> float | None:
        """The expected share for a suspect that has moved so far: a non-decreasing function of the logarithm.

        By the rows of its kind, between them interpolated, beyond them constant; None without rows. `moved` is the mean
        of `prediction_shift` for an adapter and `weight_shift` for a whole network, whose answers are moved far by its
        first steps, long before it knows a picture.
        """
        rows = sorted((r for r in self.rows if r.kind == kind), key=lambda r: r.moved)
        if not rows:
            return None
        x, y = np.log([r.moved for r in rows]), _non_decreasing([r.power for r in rows], [r.members for r in rows])
        return float(np.interp(np.log(max(moved, 1e-30)), x, y))


def find_table(weights: Sequence[str], folder: Path | None = None) -> Detectability | None:
    """The table of the base that these weight files (SHA-256) hold; None if it was never measured.

    Args:
        weights: SHA-256 of the base's weight files.
        folder: where the table lies; by default, where everything that ships lies.

    Raises:
        UserError: if the file is damaged.
    """
    path = (folder or resource_root()) / TABLE
    if not path.exists():
        return None
    try:
        tables = [Detectability.model_validate(t) for t in json.loads(path.read_text())]
    except (ValueError, ValidationError) as error:
        raise UserError(f"{TABLE} is damaged ({str(error).splitlines()[0]}); accepted: the file as it ships") from None
    return next((t for t in tables if set(t.base) <= set(weights)), None)


def _non_decreasing(values: Sequence[float], weights: Sequence[int]) -> np.ndarray:
    """The nearest non-decreasing sequence (pool adjacent violators; scikit-learn's)."""
    from sklearn.isotonic import isotonic_regression

    return isotonic_regression(np.asarray(values, float), sample_weight=np.asarray(weights, float))
