"""The answers about several suspects, corrected for their number.

Whoever asks m suspects about one picture asks m times. If none of them was trained on it, and each answer is wrong at a
rate of 5 %, one of the m is wrong far more often. So the p-values about one picture are adjusted over the suspects by
Holm's procedure with weights (Holm 1979): the rate of naming *any* suspect by mistake is then at most the level,
whatever the dependence between the p-values.

The weights need not be equal, and they may follow the data if these are independent of the p-values where a picture was
not used (Kropf and Laeuter 2002; Westfall, Kropf and Finos 2004). The mirror test ranks the differences between a
picture and its mirror image. The mean of the two contrasts does not change when the two change places, so it does not
tell the sign of a score. That its size depends on the mean neither is not derived: a score is a mean of ranks, which a
larger contrast does not stretch, and `eval stacks` counts how often an unused picture is called. The mean is largest
under the suspect that knows the picture, or its style. That suspect is tested first: it has most of the level, and the
others share the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from ...judging.verdict import LEVEL, STRICT_LEVEL, is_positive

CANNOT_TELL = "cannot tell"
FIRST = 4  # weight of the suspect that is tested first, for each 1 that the others have together: 80 % of the level


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What may be said of a picture, or of a set, about one suspect.

    Attributes:
        outcome: as of a run about this suspect alone.
        p_value: None where nothing could be tested.
    """

    outcome: str
    p_value: float | None


def correct_for_suspects(answers: Sequence[Answer], first: int | None = None) -> tuple[Answer, ...]:
    """Adjust the answers of several suspects about one picture, or one set, for the number of suspects.

    A suspect about which nothing could be tested counts as one that was asked, with a p-value of 1.

    Args:
        answers: one of each suspect, each as if it were the only one.
        first: the suspect that is tested first; None: all have the same weight.

    Returns:
        The same with adjusted p-values. A positive answer whose adjusted p-value lies above the level of its outcome
        becomes "weak evidence", or "cannot tell"; any other stays.
    """
    weights = [1.0] * len(answers)
    if first is not None and len(answers) > 1:
        weights[first] = FIRST * (len(answers) - 1.0)
    adjusted = adjust([1.0 if a.p_value is None else a.p_value for a in answers], weights)
    return tuple(_judge(a, None if a.p_value is None else p) for a, p in zip(answers, adjusted, strict=True))


def adjust(p_values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's procedure with weights; with equal ones it is the common procedure.

    The smallest p / weight is multiplied by the sum of all weights, the next one by the sum of those that are left, and
    so on. None is below one before it.
    """
    adjusted, least, left = [0.0] * len(p_values), 0.0, sum(weights)
    for i in sorted(range(len(p_values)), key=lambda i: p_values[i] / weights[i]):
        least = max(least, min(1.0, p_values[i] / weights[i] * left))
        adjusted[i], left = least, left - weights[i]
    return adjusted


def choose_first(contrasts: Sequence[float | None]) -> int | None:
    """The suspect with the largest mean contrast of the picture and its mirror image; None if one is not known.

    Of equal contrasts the first one counts: the order in which suspects were given does not depend on scores.
    """
    known = [c for c in contrasts if c is not None and isfinite(c)]
    return contrasts.index(max(known)) if len(known) == len(contrasts) else None


def smallest_p_value(references: int, suspects: int, ordered: bool = False) -> float:
    """The least adjusted p-value that can come of so many reference scores and suspects.

    Args:
        references: scores that the suspect's is compared with.
        suspects: how many are asked.
        ordered: whether one of them is tested first.
    """
    share = FIRST / (FIRST + 1) if ordered and suspects > 1 else 1 / suspects
    return min(1.0, 1 / share / (references + 1))


def names_first_alone(references: int, suspects: int) -> bool:
    """Whether so few reference scores can name no suspect but the one that is tested first, before that one is named.

    Args:
        references: scores that the suspects' are compared with.
        suspects: how many are asked; one of them is tested first.
    """
    share = 1 / (FIRST + 1) / max(1, suspects - 1)
    return suspects > 1 and 1 / share / (references + 1) > LEVEL


def _judge(answer: Answer, p: float | None) -> Answer:
    if not is_positive(answer.outcome) or p is None:
        return Answer(outcome=answer.outcome, p_value=p)
    if p > LEVEL:
        return Answer(outcome=CANNOT_TELL, p_value=p)
    return Answer(outcome=answer.outcome if p <= STRICT_LEVEL else "weak evidence", p_value=p)
