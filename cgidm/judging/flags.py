"""Flags of a run: what speaks against trusting its number."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from ..framing.frame import Framing
from ..messages import Note

PREFIX = "judging.flag."
INDISTINGUISHABLE_RATIO = 1e-3  # a copy of the base has exactly 0, or rounding
FLAT_DEVIATION = 2.0  # of 255: one black dot of 6 x 6 on white of 512 x 512 has 3, noise of one level less than 1


@dataclass(frozen=True)
class Flag:
    """A raised flag.

    Attributes:
        note: what it says, of code `judging.flag.NAME`; the parameters are the limits and counts that it speaks of.
        blocks_verdict: whether what it concerns must not be judged.
        concerns: "run": every test. "controls": only the comparison with controls or a bank.
        leaves_out: a set is judged without the picture. Only for what is known of its file, before anything is scored:
            what a score decides must not choose the pictures.
    """

    note: Note
    blocks_verdict: bool = True
    concerns: Literal["run", "controls"] = "run"
    leaves_out: bool = False

    @property
    def name(self) -> str:
        """The last part of its code."""
        return self.note.code.removeprefix(PREFIX)

    @property
    def condition(self) -> Note:
        """When it is raised: the code of its note with `.raised_if`, and the same parameters."""
        return Note(f"{self.note.code}.raised_if", self.note.params)

    @property
    def explanation(self) -> str:
        """What it means, in English."""
        return str(self.note)

    @property
    def raised_if(self) -> str:
        """When it is raised, in English."""
        return str(self.condition)


@dataclass(frozen=True, kw_only=True)
class PictureChecks:
    """What the checks of one picture measured: its flags follow from it.

    Attributes:
        round_trip: `generated.round_trip_ratio`.
        gradient_ratio: `median_ratio` of its recovery; None before it.
        unrelated_score: the verdict's score under the unrelated suspect; None without one.
    """

    round_trip: float
    gradient_ratio: float | None = None
    unrelated_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunChecks:
    """What the checks of a run measured once for all pictures.

    Attributes:
        base_vs_itself: score of the first picture with the base in the suspect's place.
        unrelated_control_scores: of the controls, under the unrelated suspect.
        blind_p_value: of the classifier that sees no model; None where it was not asked.
        noted_framing: how the suspect's notes say that its training framed pictures; None where they do not.
        unused_tensors: how many tensors of the suspect are not in use, since the base has no place for them.
    """

    base_vs_itself: float
    unrelated_control_scores: tuple[float, ...] = ()
    blind_p_value: float | None = None
    noted_framing: Framing | None = None
    unused_tensors: int = 0


def make_flag(
    name: str,
    *,
    blocks_verdict: bool = True,
    concerns: Literal["run", "controls"] = "run",
    leaves_out: bool = False,
    **params: Any,
) -> Flag:
    """Make the flag of that name; its sentences stand under `judging.flag.NAME`."""
    return Flag(Note(f"judging.flag.{name}", params), blocks_verdict, concerns, leaves_out)


INDISTINGUISHABLE = make_flag("indistinguishable", limit=INDISTINGUISHABLE_RATIO)
NOT_FINITE = make_flag("not_finite")
FLAT = make_flag("flat", leaves_out=True, limit=FLAT_DEVIATION)
UNKNOWN_BASE = make_flag("unknown_base", blocks_verdict=False)


def in_part_flags(unused: int) -> tuple[Flag, ...]:
    """Find whether only a part of the suspect was judged: the part that other programs load."""
    return (make_flag("in_part", blocks_verdict=False, count=unused),) if unused else ()


def stopped_flag(steps: int, of: int) -> Flag:
    """Make the flag of a run that was stopped after `steps` of its steps."""
    return make_flag("stopped", step=steps, of=of)


def is_flat(image: Float[Tensor, "3 _ _"]) -> bool:
    """Whether a picture in [0, 1] is of one colour, or nearly so: nothing in it can be learnt."""
    return bool(image.double().flatten(1).var(1, correction=0).mean().sqrt() * 255 < FLAT_DEVIATION)


def flat_flags(image: Float[Tensor, "3 _ _"]) -> tuple[Flag, ...]:
    """Find whether a picture, as it is looked at, holds nothing that could come back."""
    return (FLAT,) if is_flat(image) else ()


def median_ratio(gradient_ratio: Float[Tensor, " n"]) -> float:
    """Compute the median gradient ratio of a recovery's `n` steps; NaN if one of them is no number."""
    return gradient_ratio.median().item() if gradient_ratio.isfinite().all() else float("nan")


def check_recovery(contrast: Sequence[float], gradient_ratio: float) -> tuple[Flag, ...]:
    """Find the flags that one picture's recovery raises.

    Args:
        contrast: of each step.
        gradient_ratio: `median_ratio` of the steps.
    """
    if not (isfinite(gradient_ratio) and all(map(isfinite, contrast))):
        return (NOT_FINITE,)
    return (INDISTINGUISHABLE,) if gradient_ratio < INDISTINGUISHABLE_RATIO else ()
