"""From scores to a verdict: an error rate first, an outcome second."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError
from ..messages import Note, note

Outcome = Literal["consistent with training on this image", "no evidence", "cannot tell"]
LEVEL = 0.05  # false-positive rate that a verdict is held to
LEAST_POWER = 0.5  # share of used pictures that must be found for silence to be called "no evidence"


@dataclass(frozen=True)
class Verdict:
    """What may be said of one picture."""

    outcome: Outcome
    p_value: float | None  # None: no controls, or the run cannot be judged
    reason: Note
    controls: int  # scores behind the p-value


def conformal_p_value(score: float, controls: Sequence[float]) -> float:
    """Compute p = (1 + #{control >= score}) / (n + 1), which is never below 1 / (n + 1).

    It is valid whatever the distribution of the scores (Vovk et al. 2005), if pictures that were not used and controls
    are exchangeable.

    Raises:
        UserError: without controls.
    """
    if not controls:
        raise UserError("judging.no_controls")
    return (1 + sum(c >= score for c in controls)) / (len(controls) + 1)


def judge(
    score: float | None,
    controls: Sequence[float],
    blocking: Sequence[Note],
    *,
    level: float = LEVEL,
    power: float | None = None,
) -> Verdict:
    """Judge one picture.

    A score of 0 means that the suspect knows the picture as well as its base does. A score <= 0 is never "consistent
    with training", even if all controls score lower: the suspect must know the picture better than its base does.

    Args:
        score: the verdict's score of the picture; None or not finite where it could not be computed.
        controls: the same score of pictures that were certainly not used.
        blocking: the notes of raised flags that forbid a judgement; the first becomes the reason.
        level: the false-positive rate that the verdict is held to.
        power: the share of used pictures that would be found, where it is known. Below `LEAST_POWER` a score like
            those of the controls is "cannot tell" instead of "no evidence".
    """
    n = len(controls)
    if blocking:
        return Verdict("cannot tell", None, blocking[0], n)
    if score is None or not np.isfinite(score):
        return Verdict("cannot tell", None, note("judging.no_score"), n)
    if 1 / (n + 1) > level:
        need = round(1 / level) - 1
        return Verdict("cannot tell", None, note("judging.few_controls", n=n, need=need, level=level), n)
    p = conformal_p_value(score, controls)
    if p <= level and score > 0:
        reason = note("judging.above_controls", n=n, higher=round(p * (n + 1)) - 1, p=p)
        return Verdict("consistent with training on this image", p, reason, n)
    if power is not None and power < LEAST_POWER:
        return Verdict("cannot tell", p, note("judging.weak_suspect", power=power, level=level, p=p), n)
    if p <= level:
        return Verdict("no evidence", p, note("judging.no_better_than_base", n=n, p=p), n)
    return Verdict("no evidence", p, note("judging.as_high", n=n, higher=round(p * (n + 1)) - 1, p=p), n)
