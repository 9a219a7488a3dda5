"""Figures of the ledger's rows: ROC, scores, AUC against cost. The same rows give the same bytes.

A cell is named by its pair of method and measure. There is a panel for each dataset and training of the trained
suspects.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from sklearn.metrics import roc_curve

from eval.analysis.metrics import check_measurable, pooled_auc
from eval.analysis.table_rendering import natural
from eval.analysis.tables import last, split

# Okabe and Ito's colours, told apart by colour-blind eyes; yellow is left out, too pale on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
DOTS_PER_INCH = 120
PANEL = (4.6, 3.8)  # inches
COLUMNS = 3
LEGEND = 2.8  # inches of one name in the legend
BINS = 24

Pair = tuple[str, str]


def plot_roc(rows: pd.DataFrame, pairs: Sequence[Pair], out: Path) -> None:
    """True against false positives, both on log axes, down to the rate of a single holdout: below it nothing is known.

    ValueError as for `tables.last`, if a cell cannot be measured, or there is nothing to draw.
    """
    panels = _panels(last(rows), pairs)
    figure, axes = _figure(panels)
    for axis, (place, cells) in zip(axes, panels, strict=True):
        fewest = 1.0
        for pair, table in cells.items():
            found, rates = roc_steps(table)
            axis.plot(rates, found, drawstyle="steps-post", label=".".join(pair), **_look(pairs.index(pair)))
            fewest = min(fewest, rates[0])
        diagonal = np.geomspace(fewest, 1, 50)
        axis.plot(diagonal, diagonal, color="0.5", linewidth=1)
        axis.set(xscale="log", yscale="log", xlim=(fewest, 1), ylim=(min(fewest, 0.05), 1.05), title=" / ".join(place))
        axis.set(xlabel="false-positive rate", ylabel="true-positive rate")
    _save(figure, axes, out)


def roc_steps(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The most members that can be found at 1, 2, ... false positives, and these rates: both shares, 0 to 1."""
    check_measurable(table["member"], table["score"])
    false, true, _ = roc_curve(table["member"], table["score"], drop_intermediate=False)
    holdouts = np.count_nonzero(table["member"] == 0)
    counts = np.arange(1, holdouts + 1)
    at = np.searchsorted(np.rint(false * holdouts), counts, side="right") - 1  # the last threshold within the count
    return true[at], counts / holdouts


def plot_scores(rows: pd.DataFrame, pair: Pair, out: Path) -> None:
    """Histograms of members' and holdouts' scores, by training and for innocent suspects; errors as `plot_roc`."""
    table = last(rows)
    panels = _panels(table, [pair]) + _panels(table, [pair], role="innocent")
    figure, axes = _figure(panels)
    shown = np.concatenate([cells[pair]["score"].to_numpy(dtype=float) for _, cells in panels])
    edges = np.histogram_bin_edges(shown, BINS).tolist()
    for axis, (place, cells) in zip(axes, panels, strict=True):
        member, score = cells[pair]["member"].to_numpy(), cells[pair]["score"].to_numpy(dtype=float)
        for role, name, colour in ((1, "members", COLOURS[1]), (0, "holdouts", COLOURS[0])):
            axis.hist(score[member == role], edges, color=colour, alpha=0.55, label=name)
        axis.set(xlabel=".".join(pair), ylabel="decisions", title=" / ".join(place))
    _save(figure, axes, out)


def plot_evaluations(rows: pd.DataFrame, pairs: Sequence[Pair], out: Path) -> None:
    """AUC against network evaluations: a line where a cell has several counts, else a point; errors as `plot_roc`."""
    panels = _panels(rows, pairs)
    figure, axes = _figure(panels)
    for axis, (place, cells) in zip(axes, panels, strict=True):
        for pair, table in cells.items():
            points = sorted((int(at), pooled_auc(t)) for (at,), t in split(table, ["evaluations"]))
            i = pairs.index(pair)
            marker = MARKERS[i // len(COLOURS) % len(MARKERS)]
            axis.plot(*zip(*points, strict=True), marker=marker, markersize=5, label=".".join(pair), **_look(i))
        axis.axhline(0.5, color="0.5", linewidth=1)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_ylim(min(0.4, *axis.get_ylim()), 1.03)  # alike in all panels, unless a method is worse than that
        axis.set(xlabel="network evaluations for a picture", ylabel="AUC", title=" / ".join(place))
    _save(figure, axes, out)


def _panels(
    table: pd.DataFrame, pairs: Sequence[Pair], role: str = "trained"
) -> list[tuple[Pair, dict[Pair, pd.DataFrame]]]:
    """The rows of each pair for each dataset and training; innocent suspects have no training, so the role names it."""
    across = "training" if role == "trained" else "role"
    wanted = [pair in pairs for pair in zip(table["method"], table["measure"], strict=True)]
    places: Any = split(table.loc[wanted].query("role == @role"), ["dataset", across])
    cells: Any = [(place, dict(split(part, ["method", "measure"]))) for place, part in places]
    return sorted(cells, key=lambda panel: natural(panel[0]))


def _figure(panels: Sequence[Any]) -> tuple[Figure, list[Axes]]:
    """A figure of its own, not pyplot's: nothing is left open and no screen is asked for."""
    if not panels:
        raise ValueError("There is nothing to draw: no rows of these methods and measures.")
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * lines), layout="constrained")
    return figure, [figure.add_subplot(lines, columns, i + 1) for i in range(len(panels))]


def _look(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[i // len(COLOURS) % len(STYLES)], "linewidth": 1.6}


def _save(figure: Figure, axes: Sequence[Axes], out: Path) -> None:
    """One legend for all panels; no date and no version in the file, which would change its bytes."""
    for axis in axes:
        axis.grid(alpha=0.3)
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    across = min(4, len(named), int(figure.get_figwidth() / LEGEND))
    figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=across, fontsize=9)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=DOTS_PER_INCH, metadata={"Software": None})
