"""Drawings as inline SVG: a picture's score among its controls, and the contrast along a run.

Colours are classes of `looks.CSS`; without it everything is drawn in the colour of the text around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10
from sys import float_info

WIDTH = 420  # units of the drawing; the page shows it at 100 % of its container
EDGE = 16  # free on both sides
RADIUS = 4.2  # of a dot
WIDE, NARROW = 16.5, 10.3  # of a letter at the largest size that CSS gives it: full-width (CJK), and others
MOST_POINTS = 200  # of a curve


@dataclass(frozen=True)
class Labels:
    """The words of a drawing, plain text."""

    title: str
    description: str
    mark: str = ""  # beside the picture's line
    zero: str = ""  # beside the line at 0


@dataclass(frozen=True)
class Scale:
    """A range of values laid on a range of the drawing."""

    low: float
    high: float
    start: float  # where `low` is drawn
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is drawn."""
        largest = max(abs(self.low), abs(self.high))  # divided out first: the range of two floats may overflow
        low, high = self.low / largest, self.high / largest
        return self.start + (value / largest - low) / (high - low) * (self.end - self.start)


def distribution_svg(score: float | None, controls: Sequence[float | None], labels: Labels) -> str:
    """Every control as a dot on an axis, stacked where they crowd, and the picture's score as a line across."""
    known, mark = sorted(finite_values(controls)), finite_values([score])
    top, axis = 30.0, 112.0
    scale = make_scale([*known, *mark, 0.0], EDGE, WIDTH - EDGE)
    parts = [_line("cg-zero", scale(0), top - 6, scale(0), axis)]
    parts += [_dot(x, y) for x, y in stack_dots([scale(c) for c in known], axis - RADIUS - 3, top + RADIUS)]
    parts += [_line("cg-axis", EDGE, axis, WIDTH - EDGE, axis)]
    for tick in axis_ticks(scale.low, scale.high):
        parts += [_line("cg-axis", scale(tick), axis, scale(tick), axis + 4)]
        parts += [_words("cg-tick", scale(tick), axis + 18, format_tick(tick))]
    parts += [_words("cg-tick", scale(0), axis + 38, labels.zero)]
    for value in mark:
        x = scale(value)
        parts += [_line("cg-mark", x, top - 10, x, axis)]
        corners = f"{x:.1f},{top - 4:.1f} {x - 5:.1f},{top - 11:.1f} {x + 5:.1f},{top - 11:.1f}"
        parts += [f'<polygon class="cg-mark-head" points="{corners}" fill="currentColor"/>']
        parts += [_words("cg-mark-label", x, top - 16, f"{labels.mark} {format_number(value)}".strip())]
    return _svg("cg-distribution", 156, labels, parts)


def contrast_svg(values: Sequence[float | None], labels: Labels, steps: int | None = None) -> str:
    """The contrast at each step, and its moving average; `steps` are those of the whole run, if it is not over."""
    points = [(i + 1, v) for i, v in enumerate(values) if v is not None and isfinite(v)]
    last = max(steps or 0, len(values), 2)
    top, bottom, left = 12.0, 96.0, 52.0
    across = Scale(1, last, left, WIDTH - EDGE)
    up = make_scale([*(v for _, v in points), 0.0], bottom, top)
    parts = [_line("cg-zero", left, up(0), WIDTH - EDGE, up(0))]
    for tick in axis_ticks(up.low, up.high, 3):
        parts += [_words("cg-tick", left - 6, up(tick) + 4, format_tick(tick), "end")]
    parts += [_words("cg-tick", across(1), bottom + 20, "1"), _words("cg-tick", across(last), bottom + 20, str(last))]
    smooth = moving_average([v for _, v in points], max(1, len(points) // 10))
    for name, heights in (("cg-raw", [v for _, v in points]), ("cg-average", smooth)):
        curve = thin_points([(across(i), up(v)) for (i, _), v in zip(points, heights, strict=True)])
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in curve)
        parts += [f'<polyline class="{name}" points="{path}" fill="none" stroke="currentColor"/>']
    return _svg("cg-contrast", 124, labels, parts)


def format_number(value: float) -> str:
    """A number for any reader: a point, a true minus, three decimals or an exponent; zero has no sign."""
    if value == 0:
        return "0"
    plain = f"{value:.3f}" if 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"
    return plain.replace("-", "\N{MINUS SIGN}")


def format_tick(value: float) -> str:
    """The same for a number beside an axis, which has few digits by itself."""
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def finite_values(values: Sequence[float | None]) -> list[float]:
    """Those of the values that are numbers."""
    return [float(v) for v in values if v is not None and isfinite(v)]


def make_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that holds all values with a margin around them, and is never empty."""
    low, high = min(values), max(values)
    if high == low:
        reach = abs(high) or 1.0
        low, high = low - reach / 2, high + reach / 2
    margin = 0.06 * (high / 2 - low / 2)
    return Scale(max(low - 2 * margin, -float_info.max), min(high + 2 * margin, float_info.max), start, end)


def axis_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """About `most` round numbers within a range, evenly spaced; none where the range is beyond counting."""
    size = high / most - low / most
    if not 0 < size < 1e300 or size < 1e-300:
        return []
    power = 10.0 ** floor(log10(size))
    step = next((m * power for m in (1, 2, 5) if m * power >= size), 10 * power)
    return [i * step for i in range(ceil(low / step), floor(high / step) + 1)]


def stack_dots(places: Sequence[float], floor_y: float, ceiling_y: float) -> list[tuple[float, float]]:
    """Where to draw dots, places rising: at their own x, each on the lowest row where it touches none beside it."""
    rows: list[float] = []  # the last x of each row
    chosen = []
    for x in places:
        row = next((i for i, taken in enumerate(rows) if x - taken >= 2 * RADIUS + 0.6), len(rows))
        if row == len(rows):
            rows.append(x)
        rows[row] = x
        chosen.append((x, row))
    height = min(2 * RADIUS + 0.6, (floor_y - ceiling_y) / max(1, len(rows) - 1))
    return [(x, floor_y - row * height) for x, row in chosen]


def moving_average(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and up to `window - 1` before it."""
    return [sum(values[max(0, i + 1 - window) : i + 1]) / min(i + 1, window) for i in range(len(values))]


def thin_points(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `MOST_POINTS` of the points, evenly chosen, the last one among them."""
    stride = ceil(len(points) / MOST_POINTS) or 1
    return list(points[::-1][::stride])[::-1]


def _svg(name: str, height: int, labels: Labels, parts: Sequence[str]) -> str:
    title, description = escape(labels.title), escape(labels.description)
    return (
        f'<svg class="cg-svg {name}" viewBox="0 0 {WIDTH} {height}" width="100%" role="img" aria-label="{title}. '
        f'{description}"><title>{title}</title><desc>{description}</desc>{"".join(parts)}</svg>'
    )


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor"/>'


def _dot(x: float, y: float) -> str:
    return f'<circle class="cg-dot" cx="{x:.2f}" cy="{y:.1f}" r="{RADIUS}" fill="currentColor"/>'


def _words(name: str, x: float, y: float, words: str, anchor: str = "middle") -> str:
    """A line of text at `x`, moved so far that it does not leave the drawing."""
    half = sum(WIDE if ord(c) > 0x2E80 else NARROW for c in words) / 2
    if anchor == "middle":
        x = min(max(x, half), max(WIDTH - half, half))
    return (
        f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" font-size="12">'
        f"{escape(words)}</text>"
    )
