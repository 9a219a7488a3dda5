"""The control pictures that ship with a shipped suspect, and their scores, which every visitor would compute again."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from cgidm.method.config import RunConfig
from cgidm.resources import SHIPPED, find_example

from .model_cache import EXAMPLES, OpenedModels, shipped_controls
from .store import Sent


def default_controls(suspect: str) -> list[Sent]:
    """The control pictures of a shipped suspect; none of any other."""
    if not suspect.startswith(SHIPPED):
        return []
    return [Sent(p.name, p.read_bytes()) for p in shipped_controls(suspect.removeprefix(SHIPPED))]


def controls_for(suspect: str, pictures: Iterable[Sent]) -> list[Sent]:
    """The control pictures that ship with a suspect, if they are by the artist of all these pictures.

    Of a picture of anybody else they say nothing: it is the artist's own unused works that the error rate holds for.
    """
    name = suspect.removeprefix(SHIPPED)
    if not suspect.startswith(SHIPPED) or name not in EXAMPLES:
        return []
    digests = _digests(name)
    return default_controls(suspect) if all(_digest(p.data) in digests for p in pictures) else []


@cache
def _digests(example: str) -> frozenset[str]:
    """SHA-256 of the pictures by the artist of a shipped suspect, used or not."""
    found = find_example(example)
    return frozenset(_digest(path.read_bytes()) for path in (*found.members, *found.holdouts))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
