"""The settings of a run that a visitor may choose, and their limits."""

import dataclasses
from dataclasses import dataclass
from typing import TypeGuard

from cgidm import UserError
from cgidm.messages import Language
from cgidm.method.config import LINEUP_SIZES, RunConfig, find_preset
from cgidm.method.views import VIEWS

PRESET_NAMES = ("fast", "paper")
# whose works, surely unused, a visitor has: the same artist's, or theirs but made after the training; of others' works
# the error rate would be another one, so they are not taken as controls
UNUSED = ("none", "same", "later", "others")
UNUSED_THAT_COUNT = ("same", "later")
LINEUPS = (0, 6, 10, 20)  # panels of a round that the form offers; 0: no line-up
MAX_SEED = 2**31 - 1
MAX_STEPS = 2000
FILES_FOLDER = "CGIDM_FILES"  # variable: the folder whose files programs may name by their paths


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a visitor chose, beside the files that they handed over."""

    base: str
    suspect: str  # "" if a file was handed over
    prompt: str
    preset: str
    seed: float | None
    steps: float | None = None  # instead of the preset's; for programs
    search: bool = False  # also for changed copies of the pictures
    lineup: float | None = None  # panels of each round; 0 or None: no line-up
    unrelated: str = ""  # a suspect of the same base that must find nothing; "": none
    unused: str = "none"  # one of `UNUSED`, as the form was answered
    language: Language = "en"  # of the reports

    def config(self) -> RunConfig:
        """The configuration of such a run.

        Raises:
            UserError: if a setting is out of range.
        """
        return make_config(self.preset, self.seed, self.steps, self.search, self.lineup)


def make_config(
    preset: object, seed: object, steps: object = None, search: bool = False, lineup: object = None
) -> RunConfig:
    """Make a run's configuration from what a form or a program states.

    Args:
        preset: one of `PRESET_NAMES`.
        seed: a whole number from 0 to `MAX_SEED`.
        steps: instead of the preset's; 0 or None for the preset's.
        search: score every view of a picture, not the given one alone.
        lineup: panels of each round of a line-up; 0 or None for none.

    Raises:
        UserError: if one is out of range.
    """
    if not isinstance(preset, str) or preset not in PRESET_NAMES:
        raise UserError("page.preset", given=f"{preset!r:.40}", accepted=PRESET_NAMES)
    if not _is_whole(seed) or not 0 <= seed <= MAX_SEED:
        raise UserError("page.seed", given=f"{seed!r:.40}", largest=MAX_SEED)
    config = find_preset(preset)
    config = dataclasses.replace(config, seed=int(seed), views=tuple(VIEWS) if search else config.views)
    if lineup:
        if not _is_whole(lineup) or lineup not in LINEUP_SIZES:
            raise UserError("page.lineup", given=f"{lineup!r:.40}", smallest=LINEUP_SIZES[0], largest=LINEUP_SIZES[-1])
        config = dataclasses.replace(config, lineup=int(lineup))
    if not steps:
        return config
    if not _is_whole(steps) or not 1 <= steps <= MAX_STEPS:
        raise UserError("page.steps", given=f"{steps!r:.40}", largest=MAX_STEPS)
    return dataclasses.replace(config, recovery=dataclasses.replace(config.recovery, steps=int(steps)))


def _is_whole(value: object) -> TypeGuard[float]:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
