"""Flags of a run: what speaks against trusting its number."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

INDISTINGUISHABLE_RATIO = 1e-3  # an innocent copy has 0 exactly, or rounding


@dataclass(frozen=True)
class Flag:
    """A raised flag."""

    name: str
    raised_if: str
    explanation: str
    blocks_verdict: bool


INDISTINGUISHABLE = Flag(
    "indistinguishable",
    f"the median gradient of the contrast is below {INDISTINGUISHABLE_RATIO:g} of the gradients of its two terms",
    "The suspect cannot be told from its base: nothing can come back, and what seems to emerge is rounding noise.",
    True,
)
NOT_FINITE = Flag(
    "not_finite",
    "a contrast or gradient is NaN or infinite",
    "A model returned values that are not numbers; another precision may help.",
    True,
)


def stopped(steps: int, of: int) -> Flag:
    """The flag of a run that was stopped after `steps` of its steps."""
    explanation = f"The run was stopped at step {steps} of {of}; a recovery that is not complete is not judged."
    return Flag("stopped", "the run ended before its last step", explanation, True)


def check_run(contrast: Float[Tensor, " n"], gradient_ratio: Float[Tensor, " n"]) -> tuple[Flag, ...]:
    """The flags that one picture's recovery raises, from what its `n` steps measured."""
    if not (gradient_ratio.isfinite().all() and contrast.isfinite().all()):
        return (NOT_FINITE,)
    return (INDISTINGUISHABLE,) if gradient_ratio.median() < INDISTINGUISHABLE_RATIO else ()
