"""The answers about several suspects, corrected for their number.

Whoever asks m suspects about one picture asks m times. If none of them was trained on it, and each answer is wrong at a
rate of 5 %, one of the m is wrong far more often. So the p-values about one picture are adjusted by Holm's procedure
over the suspects: the rate of naming *any* suspect by mistake is then at most the level.

Holm's procedure holds whatever the dependence between the p-values (Holm 1979). That matters here: versions of one LoRA
know nearly the same, while the LoRAs of a stack are by different hands. The maximum over the suspects, compared with
the same maximum of reference pictures, would hold as well and find more among versions. It needs each reference picture
under each suspect, which a base with a table of null scores does not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ...judging.portfolio import holm
from ...judging.verdict import LEVEL, STRICT_LEVEL, is_positive

CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What may be said of a picture, or of a set, about one suspect.

    Attributes:
        outcome: as of a run about this suspect alone.
        p_value: None where nothing could be tested.
    """

    outcome: str
    p_value: float | None


def correct_for_suspects(answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """Adjust the answers of several suspects about one picture, or one set, for the number of suspects.

    A suspect about which nothing could be tested counts as one that was asked, with a p-value of 1.

    Args:
        answers: one of each suspect, each as if it were the only one.

    Returns:
        The same with adjusted p-values. A positive answer whose adjusted p-value lies above the level of its outcome
        becomes "weak evidence", or "cannot tell"; any other stays.
    """
    adjusted = holm([1.0 if a.p_value is None else a.p_value for a in answers])
    return tuple(_judge(a, None if a.p_value is None else p) for a, p in zip(answers, adjusted, strict=True))


def smallest_p_value(references: int, suspects: int) -> float:
    """The least adjusted p-value that can come of so many reference scores and suspects."""
    return min(1.0, suspects / (references + 1))


def _judge(answer: Answer, p: float | None) -> Answer:
    if not is_positive(answer.outcome) or p is None:
        return Answer(outcome=answer.outcome, p_value=p)
    if p > LEVEL:
        return Answer(outcome=CANNOT_TELL, p_value=p)
    return Answer(outcome=answer.outcome if p <= STRICT_LEVEL else "weak evidence", p_value=p)
