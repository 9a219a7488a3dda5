"""Does the cost grow as a straight line?"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """The least-squares line through some measurements."""

    offset: float  # seconds
    slope: float  # seconds for one more
    r_squared: float
    worst: float  # the largest distance of a measurement from the line, as a share of the measurement


def fit_line(counts: Sequence[float], seconds: Sequence[float]) -> Line | None:
    """Seconds against counts; None of fewer than three."""
    if len(counts) < 3:
        return None
    slope, offset = statistics.linear_regression(counts, seconds)
    residuals = [s - offset - slope * n for n, s in zip(counts, seconds, strict=True)]
    mean = statistics.fmean(seconds)
    total = sum((s - mean) ** 2 for s in seconds)
    r_squared = 1 - sum(r**2 for r in residuals) / total if total else 1.0
    return Line(offset, slope, r_squared, max(abs(r) / s for r, s in zip(residuals, seconds, strict=True)))
