"""What a run is asked for, and its plan: all that follows before a model is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UserError
from ..intake.likely_framing import usual_buckets
from ..judging.banks.null_bank import Bank
from ..judging.flags import is_flat
from ..judging.lineup import Lineup, parse_lineup, plan_lineup
from ..judging.mirror_test import NullGroup
from ..method.config import RunConfig
from ..method.models import ModelPair
from ..method.views import CENTRE_SQUARE
from ..pictures.duplicates import near_duplicates, representatives
from ..pictures.images import Picture

FRAMINGS = ("notes", "buckets", "square")  # what somebody can state of a suspect's training


@dataclass(frozen=True, eq=False, kw_only=True)
class RunRequest:
    """What a run is asked for, beside the models."""

    pictures: Sequence[Picture]
    controls: Sequence[Picture] = ()  # pictures known not to be in the training set
    config: RunConfig
    bank: Bank | None = None  # null models instead of controls
    reference: Sequence[Picture] = ()  # pictures of many hands, for the mirror test of a base without a table
    null_groups: Sequence[NullGroup] = ()  # of a table for it that does not ship

    def __post_init__(self) -> None:
        if self.bank is not None:  # its models scored each file with the noise of its own
            object.__setattr__(self, "config", replace(self.config, score_noise="own"))


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What is known before the first step."""

    controls: tuple[int, ...]  # indices of the control pictures that are used
    copies: tuple[tuple[int, ...], ...]  # of each picture: the controls that are its near-duplicates, not used
    lineup: Lineup | None = None  # its decoys are indices among the controls that are used
    # share of used pictures that the tests that were asked find: see `RunPower.expected`; None: never measured
    expected_power: float | None = None
    control_power: float | None = None  # by the controls or the bank alone
    power_known: bool = False  # whether it was looked up, which waits for the mirror test


def plan_run(request: RunRequest) -> RunPlan:
    """Set aside the controls that are near-duplicates, and draw the line-up. No model is needed.

    A near-duplicate of a picture cannot be known to be unused and be in question at once. Of controls that are
    near-duplicates of one another the first is used: copies of one picture say no more than it does.

    Raises:
        UserError: if a control is of one colour, or if the controls do not suffice for the line-up.
    """
    if flat := [c for c in request.controls if is_flat(c.image)]:
        raise UserError("run.flat_control", name=flat[0].name)
    table = near_duplicates([p.image for p in request.pictures], [c.image for c in request.controls])
    apart = [i for i, copied in enumerate(table.T) if not copied.any()]
    first = representatives(near_duplicates([request.controls[i].image for i in apart]))
    used = [i for number, i in enumerate(apart) if first[number] == number]
    copies = tuple(tuple(i for i, same in enumerate(row) if same) for row in table)
    lineup, config = None, request.config
    if config.lineup is not None:
        lineup = plan_lineup(request.pictures, [request.controls[i] for i in used], config.lineup, config.seed)
    return RunPlan(controls=tuple(used), copies=copies, lineup=lineup)


def frame_as(pair: ModelPair, how: str) -> ModelPair:
    """The pair with a framing that somebody states, one of `FRAMINGS`; "notes" leaves it as its file notes."""
    if how == "notes":
        return pair
    stated = usual_buckets(pair.resolution) if how == "buckets" else None
    return replace(pair, trained_framing=stated, framing_is_guessed=False)


def is_looked_at_twice(pair: ModelPair, request: RunRequest, picture: Picture) -> bool:
    """Whether a picture is also looked at as its centre square: nobody noted how the training framed pictures.

    A bank's models saw pictures in its framing alone.
    """
    return pair.framing_is_guessed and request.bank is None and picture.square is not None


def with_centre_square(config: RunConfig) -> RunConfig:
    """The same run, in which centre squares are scored as well: of controls as of pictures, whose largest counts."""
    views = config.views if CENTRE_SQUARE in config.views else (*config.views, CENTRE_SQUARE)
    return replace(config, views=views)


def read_plan(table: dict[str, Any]) -> RunPlan:
    """Read a plan from what `asdict` made of it."""
    known = table.get("power_known", True) and "control_power" in table  # an older version's power was a mean
    return RunPlan(
        controls=tuple(table["controls"]),
        copies=tuple(map(tuple, table["copies"])),
        lineup=parse_lineup(table["lineup"]),
        expected_power=table["expected_power"] if known else None,
        control_power=table["control_power"] if known else None,
        power_known=known,
    )
