"""Membership tests beside each other at small false-positive rates, each artist judged by the others' thresholds.

`rows` has the ledger's columns. All datasets are pooled: an artist is an artist. RAPID is added here, since its rule
must be fitted, and fitted on others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from eval.analysis.comparison import compare
from eval.analysis.fused import FUSED, fuse
from eval.analysis.metrics import auc_interval, check_measurable, pooled_auc
from eval.analysis.tables import last
from eval.markdown import markdown_table

OURS = ("loss_contrast", "contrast")
LEVELS = (0.05, 0.01)  # false-positive rates
RESAMPLES = 10_000

# RAPID, He et al. (CCS 2024, https://arxiv.org/abs/2409.00426): a rule on the raw loss and on the loss less that of a
# reference model. Theirs is a small network fitted on a shadow model's members. Here the reference is the base, and the
# rule is logistic, fitted on the suspects of all other artists: too few decisions for a network.
RAPID = (("loss", "suspect"), ("loss", "contrast"))
_RAPID = (FUSED, "+".join(".".join(part) for part in RAPID))

LABELS: Mapping[tuple[str, str], str] = {
    OURS: "**`loss_contrast`** (the control test)",
    ("mirror", "contrast"): "**mirror test**, 10 draws",
    ("angle_to_noise", "contrast"): "angle to the noise, `cos(f - b, eps - b)`",
    ("loss", "suspect"): "loss at one step",
    ("loss", "contrast"): "the same, against the base",
    ("recover_like", "suspect"): "RECOVER-like",
    ("recover_like", "contrast"): "the same, against the base",
    ("mc_cal", "suspect"): "T_mc_cal",
    ("mc_cal", "contrast"): "the same, against the base",
    ("fcre", "suspect"): "FCRE",
    ("fcre", "contrast"): "the same, against the base",
    ("quantile", "suspect"): "quantile regression",
    ("quantile", "contrast"): "the same, against the base",
    _RAPID: "RAPID, fitted on the other artists",
    ("anisotropy", "suspect"): "anisotropy, prompt against none",
    ("anisotropy", "contrast"): "the same, suspect against base",
}


def measure_rivals(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Measure each test of `LABELS`, in their order.

    Returns:
        For each: `method`, `measure`, `evaluations`, `auc` with its `interval`, `lead` over `loss_contrast`, and `tpr`
        by level: see `rates_by_others`.

    ValueError as for `eval.analysis.tables.last` and `fuse`, or where a test of `LABELS` has no scores.
    """
    table = last(rows.query("role == 'trained'").assign(dataset="all"))
    table = pd.concat([table, fuse(table, RAPID)], ignore_index=True)
    cells = {pair: table.loc[(table["method"] == pair[0]) & (table["measure"] == pair[1])] for pair in LABELS}
    if absent := [".".join(pair) for pair, cell in cells.items() if cell.empty]:
        raise ValueError(f"There are no scores of {absent[0]}.")
    return [_measured(pair, cell, cells[OURS]) for pair, cell in cells.items()]


def _measured(pair: tuple[str, str], cell: pd.DataFrame, ours: pd.DataFrame) -> dict[str, Any]:
    lead = None if pair == OURS else compare(cell, ours, RESAMPLES)
    return {
        "method": pair[0],
        "measure": pair[1],
        "evaluations": int(cell["evaluations"].iloc[0]),
        "auc": pooled_auc(cell),
        "interval": auc_interval(cell, RESAMPLES),
        "lead": lead and {"difference": lead.difference, "interval": lead.interval},
        "tpr": {level: rates_by_others(cell, level) for level in LEVELS},
    }


def rates_by_others(table: pd.DataFrame, level: float, seed: int = 0) -> dict[str, Any]:
    """Call pictures by thresholds that their own artist did not set.

    For each concept, the threshold is the lowest at which at most `level` of all *other* concepts' holdouts are called.
    A picture above it is called.

    Returns:
        "members" and "holdouts": how many are `called`, `of` how many, the `share` (0 to 1) and its 95 % `interval`,
        a bootstrap over concepts whose thresholds are kept.

    ValueError below 2 concepts, or if scores cannot be measured.
    """
    check_measurable(table["member"], table["score"])
    concepts = list(dict.fromkeys(table["concept"]))
    if len(concepts) < 2:
        raise ValueError("A threshold from other concepts needs two concepts or more.")
    counts = []
    for concept in concepts:
        own = table.loc[table["concept"] == concept]
        others = table.loc[(table["concept"] != concept) & (table["member"] == 0), "score"].to_numpy(dtype=float)
        threshold = np.sort(others)[::-1][int(level * len(others) + 1e-9)]
        called, member = own["score"].to_numpy() > threshold, own["member"].to_numpy() == 1
        counts.append([called[member].sum(), member.sum(), called[~member].sum(), (~member).sum()])
    found, rng = np.array(counts), np.random.default_rng(seed)
    drawn = found[rng.integers(len(found), size=(RESAMPLES, len(found)))].sum(1)
    rates = {}
    for name, first in (("members", 0), ("holdouts", 2)):
        called, of = found[:, first].sum(), found[:, first + 1].sum()
        low, high = np.quantile(drawn[:, first] / drawn[:, first + 1], [0.025, 0.975])
        rates[name] = {
            "called": int(called),
            "of": int(of),
            "share": float(called / of),
            "interval": (float(low), float(high)),
        }
    return rates


def rivals_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The table of the docs, in Markdown, of what `measure_rivals` returns."""
    heads = ["test", "evaluations", "AUC (95 %)", "AUC less that of `loss_contrast`"]
    heads += [f"used found, unused called, at {level:.0%}".replace("%", " %") for level in LEVELS]
    return markdown_table(heads, map(_row, entries), spaced=True) + "\n"


def _row(entry: Mapping[str, Any]) -> Sequence[str]:
    lead = entry["lead"]
    return [
        LABELS[entry["method"], entry["measure"]],
        str(entry["evaluations"]),
        "{:.3f} ({:.2f} to {:.2f})".format(entry["auc"], *entry["interval"]),
        "" if lead is None else "{:+.3f} ({:+.2f} to {:+.2f})".format(lead["difference"], *lead["interval"]),
        *(_rates(found) for found in entry["tpr"].values()),
    ]


def _rates(found: Mapping[str, Any]) -> str:
    members, holdouts = found["members"], found["holdouts"]
    low, high = (f"{100 * x:.0f}" for x in members["interval"])
    return f"{100 * members['share']:.0f} % ({low} to {high}), {holdouts['called']} of {holdouts['of']}"
