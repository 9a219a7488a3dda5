"""Flags of a run: what speaks against trusting its number."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .recovery import RecoveryStep

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


def check_run(steps: Sequence[RecoveryStep], picture: int) -> tuple[Flag, ...]:
    """The flags that one picture's recovery raises."""
    ratios = torch.stack([s.gradient_ratio[picture] for s in steps])
    contrasts = torch.stack([s.contrast[picture] for s in steps])
    if not (ratios.isfinite().all() and contrasts.isfinite().all()):
        return (NOT_FINITE,)
    return (INDISTINGUISHABLE,) if ratios.median() < INDISTINGUISHABLE_RATIO else ()
