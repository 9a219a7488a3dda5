"""The control pictures that ship with a shipped suspect, and their scores, which every visitor would compute again."""

from collections.abc import Sequence
from typing import Any

from cgidm.method.config import RunConfig
from cgidm.resources import SHIPPED

from .model_cache import OpenedModels, shipped_controls
from .store import Sent


def default_controls(suspect: str) -> list[Sent]:
    """The control pictures of a shipped suspect; none of any other."""
    if not suspect.startswith(SHIPPED):
        return []
    return [Sent(p.name, p.read_bytes()) for p in shipped_controls(suspect.removeprefix(SHIPPED))]


class ShippedScores:
    """Scores of the control pictures that ship, by all that they depend on. Nothing of a visitor's is kept here."""

    def __init__(self) -> None:
        self._scores: dict[tuple[Any, ...], tuple[float, ...]] = {}

    def get(self, models: OpenedModels, controls: Sequence[Sent], config: RunConfig) -> tuple[float, ...]:
        """The scores of all these controls, or nothing."""
        key = self._key(models, controls, config)
        return () if key is None else self._scores.get(key, ())

    def put(self, models: OpenedModels, controls: Sequence[Sent], config: RunConfig, scores: tuple[float, ...]) -> None:
        """Remember the scores, one for each control."""
        key = self._key(models, controls, config)
        if key is not None and len(scores) == len(controls) and len(self._scores) < 100:
            self._scores[key] = scores

    def _key(self, models: OpenedModels, controls: Sequence[Sent], config: RunConfig) -> tuple[Any, ...] | None:
        if models.example is None or list(controls) != default_controls(SHIPPED + models.example):
            return None
        return models.key, config.loss_draws, config.views, config.seed


SHIPPED_SCORES = ShippedScores()
