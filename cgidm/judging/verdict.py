"""From scores to words: an error rate first, an outcome second."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError

Outcome = Literal["consistent with training on this image", "no evidence", "cannot tell"]
LEVEL = 0.05  # false-positive rate that a verdict is held to
LEAST_POWER = 0.5  # share of used pictures that must be found for silence to be called "no evidence"


@dataclass(frozen=True)
class Verdict:
    """What may be said of one picture."""

    outcome: Outcome
    p_value: float | None  # None: no controls, or the run cannot be judged
    reason: str  # one sentence
    controls: int  # negatives behind the p-value


def conformal_p_value(score: float, controls: Sequence[float]) -> float:
    """p = (1 + #{control >= score}) / (n + 1): valid whatever the scores' distribution (Vovk et al. 2005).

    Valid under exchangeability: were the picture not used, it would be one more control. Never below 1 / (n + 1).

    Raises:
        UserError: without controls.
    """
    if not controls:
        raise UserError("no control pictures were given; accepted: at least 1 picture known not to be in the set")
    return (1 + sum(c >= score for c in controls)) / (len(controls) + 1)


def judge(
    score: float | None,
    controls: Sequence[float],
    blocking: Sequence[str],
    level: float = LEVEL,
    power: float | None = None,
) -> Verdict:
    """One picture's verdict. `blocking` are the explanations of raised flags that forbid a judgement.

    `score` has a natural zero, "the suspect knows the picture as well as its base does". At or below it no picture is
    called consistent, however low the controls lie: one that merely lost less than they did was not learnt. `power` is
    the share of used pictures that would be found: where it is low, silence means nothing.
    """
    n = len(controls)
    if blocking:
        return Verdict("cannot tell", None, blocking[0], n)
    if score is None or not np.isfinite(score):
        return Verdict("cannot tell", None, "The score could not be computed.", n)
    if 1 / (n + 1) > level:
        need = round(1 / level) - 1
        reason = f"{n} control pictures cannot show an error rate of {level:.0%}; give at least {need}."
        return Verdict("cannot tell", None, reason, n)
    p = conformal_p_value(score, controls)
    if p <= level and score > 0:
        reason = f"Of {n} control pictures, {round(p * (n + 1)) - 1} score as high."
        return Verdict("consistent with training on this image", p, reason, n)
    if power is not None and power < LEAST_POWER:
        return Verdict("cannot tell", p, weak_reason(power, level), n)
    if p <= level:
        reason = "It scores above the controls, but the suspect knows it no better than its base does."
        return Verdict("no evidence", p, reason, n)
    return Verdict("no evidence", p, "Control pictures score as high. This does not mean that it was not used.", n)


def weak_reason(power: float, level: float) -> str:
    """Why nothing found means nothing here."""
    return (
        f"The suspect is so weakly trained that of pictures which were used only {power:.0%} would be found, at "
        f"{level:.0%} false positives; that nothing was found says nothing."
    )
