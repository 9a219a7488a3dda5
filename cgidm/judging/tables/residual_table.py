"""Residuals by other artists, for a bank that is too small to have its own.

Two models leave each picture out once. Nothing in such a bank says how much two scores of a picture differ by chance.
A table of the base does, once both are measured in one unit: how much higher a picture scores where it was trained on.
In that unit the null residuals of different artists, and of LoRA and DreamBooth, are alike (`python -m eval
residuals`).
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict, FiniteFloat

from ..banks.null_bank import NullBank
from ..flags import make_flag
from .files import read_tables

TABLE = "residual_nulls.json"
RANGE = 2.0  # factor of memorisation between a bank and those of the table that it is compared with
NO_RESIDUALS = make_flag("no_residuals", concerns="controls", factor=RANGE)
OTHER_RESIDUALS = make_flag("other_residuals", blocks_verdict=False)


class ResidualGroup(BaseModel):
    """Null residuals of one artist's works, in units of memorisation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artist: str
    training: str
    memorisation: FiniteFloat  # of the bank that they are from
    residuals: tuple[FiniteFloat, ...]


class ResidualTable(BaseModel):
    """The null residuals of one base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: tuple[str, ...]  # SHA-256 of its weight files, sorted
    draws: int
    groups: tuple[ResidualGroup, ...]

    def residuals_at(self, memorisation: float) -> tuple[float, ...]:
        """Those of banks that memorise about as much: where less was learnt, residuals scatter more in that unit."""
        near = [g for g in self.groups if memorisation <= RANGE * g.memorisation <= RANGE**2 * memorisation]
        return tuple(r for g in near for r in g.residuals)


def memorisation(bank: NullBank) -> float:
    """Compute how much higher a picture scores under the models that were trained on it; 0 if no picture has both."""
    trained_on = ([m.scores[i] for m in bank.models if i in m.trained_on] for i in range(len(bank.pictures)))
    return mean_rise([(own, bank.scores_without(i)) for i, own in enumerate(trained_on)])


def mean_rise(scores: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """Compute the mean, over pictures, of their mean score as a member less that as a holdout.

    Args:
        scores: of each picture, under the models that were trained on it and under those that left it out. A picture
            without both is not counted.
    """
    rises = [fmean(member) - fmean(holdout) for member, holdout in scores if member and holdout]
    return fmean(rises) if rises else 0.0


def find_residual_table(weights: Sequence[str], draws: int, folder: Path | None = None) -> ResidualTable | None:
    """Find the table of a base; None if its residuals were never measured.

    Args:
        weights: SHA-256 of the base's weight files.
        draws: of the scores; a table with another number is not comparable.
        folder: where the table lies; by default, where everything that ships lies.

    Raises:
        UserError: if the file is damaged.
    """
    tables = read_tables(ResidualTable, TABLE, "judging.damaged_residual_table", folder)
    return next((t for t in tables if set(t.base) <= set(weights) and t.draws == draws), None)
