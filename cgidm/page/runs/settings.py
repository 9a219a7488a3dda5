"""The settings of a run that a visitor may choose, and their limits."""

import dataclasses
from typing import TypeGuard

from cgidm import UserError
from cgidm.method.config import LINEUP_SIZES, RunConfig, find_preset
from cgidm.method.views import VIEWS

PRESET_NAMES = ("fast", "paper")
LINEUPS = (0, 6, 10, 20)  # panels of a round that the form offers; 0: no line-up
MAX_SEED = 2**31 - 1
MAX_STEPS = 2000


def make_config(
    preset: str, seed: float | None, steps: float | None = None, search: bool = False, lineup: float | None = None
) -> RunConfig:
    """A run's settings from what a form holds.

    `search`: every view of a picture is looked at, not the given one alone; `lineup`: the panels of each round of a
    line-up, 0 or None for no line-up.

    Raises:
        UserError: if one is out of range.
    """
    if preset not in PRESET_NAMES:
        raise UserError(f"preset {preset!r:.40} was given; accepted: {', '.join(PRESET_NAMES)}")
    if not _is_whole(seed) or not 0 <= seed <= MAX_SEED:
        raise UserError(f"seed {seed!r:.40} was given; accepted: a whole number from 0 to {MAX_SEED:,}")
    config = find_preset(preset)
    config = dataclasses.replace(config, seed=int(seed), views=tuple(VIEWS) if search else config.views)
    if lineup:
        if lineup not in LINEUP_SIZES:
            accepted = f"accepted: {LINEUP_SIZES[0]} to {LINEUP_SIZES[-1]}, or 0 for none"
            raise UserError(f"a line-up of {lineup!r:.40} panels was asked for; {accepted}")
        config = dataclasses.replace(config, lineup=int(lineup))
    if not steps:
        return config
    if not _is_whole(steps) or not 1 <= steps <= MAX_STEPS:
        raise UserError(f"{steps!r:.40} steps were given; accepted: 1 to {MAX_STEPS:,}")
    return dataclasses.replace(config, recovery=dataclasses.replace(config.recovery, steps=int(steps)))


def _is_whole(value: object) -> TypeGuard[float]:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
