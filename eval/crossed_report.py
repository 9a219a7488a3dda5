"""From the table of a crossed run's scores to a summary and a figure."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from eval.metrics import accuracy, auc_interval, auc_per_suspect, paired_win_rate, pooled_auc

MODES = ("dreambooth", "lora")
RECOVERIES = ("fast", "paper", "reference")
SCORES = ("removed_cosine", "removed_gain", "removed_alignment", "efficientnet_lite0")
PUBLIC_SCORES = tuple(f"{n}{how}" for n in ("removed_cosine", "efficientnet_lite0") for how in ("", "_group_max"))
CALIBRATED = ("removed_gain", "removed_alignment", "loss_contrast")


def decisions(scores: pd.DataFrame, role: str, preset: str, score: str, evaluations: int | None = None) -> pd.DataFrame:
    """The decisions of one score after `evaluations` (None: at the end), as `eval.metrics` wants them."""
    chosen = scores.query("role == @role and preset == @preset")
    at = chosen["evaluations"] == (chosen["evaluations"].max() if evaluations is None else evaluations)
    return chosen.loc[at].assign(score=lambda t: t[score])


def summarise(scores: pd.DataFrame) -> dict[str, Any]:
    """Every number that the tables show."""
    trained: dict[str, Any] = {}
    for preset, names in [*((p, SCORES) for p in RECOVERIES), ("loss_contrast", ("loss_contrast",))]:
        for name in names:
            table = decisions(scores, "trained", preset, name)
            entry = trained.setdefault(preset, {"evaluations": int(table["evaluations"].iloc[0]), "scores": {}})
            entry["scores"][name] = {
                "auc": round(pooled_auc(table), 4),
                "interval": [round(v, 3) for v in auc_interval(table)],
                "auc_per_suspect": round(auc_per_suspect(table), 4),
                "paired_win_rate": round(paired_win_rate(table), 4),
                "by_mode": {str(mode): round(pooled_auc(t), 4) for mode, t in table.groupby("mode")},
            }
    return {
        "concepts": sorted(scores["concept"].unique()),
        "suspects": len(set(scores.query("role == 'trained'")["suspect"])),
        "decisions": len(decisions(scores, "trained", "fast", "removed_cosine")),
        "trained": trained,
        "chance": {
            role: {name: _chance(scores, role, name) for name in ("removed_cosine", *CALIBRATED)}
            for role in ("unrelated", "innocent")
        },
        "curves": {
            f"{preset} {name}": _curve(scores, preset, name)
            for preset, name in [
                *((p, n) for p in RECOVERIES for n in ("removed_alignment", "removed_cosine")),
                ("loss_contrast", "loss_contrast"),
            ]
        },
        "deviations": {
            f"{preset} {name}": {how: round(accuracy(table, how), 4) for how in ("other_concepts", "in_sample")}
            for preset in ("paper", "reference")
            for name in PUBLIC_SCORES
            for table in [decisions(scores, "trained", preset, name)]
        },
    }


def write_report(scores: pd.DataFrame, out: Path) -> None:
    """Write `scores.csv`, `summary.json`, `table.md` and `auc-against-evaluations.png` to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    scores.to_csv(out / "scores.csv", index=False)
    summary = summarise(scores)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (out / "table.md").write_text(markdown(summary))
    plot_curves(summary["curves"], out / "auc-against-evaluations.png")


def markdown(summary: dict[str, Any]) -> str:
    """The tables, for people."""
    lines = [
        f"{len(summary['concepts'])} concepts, each half trained on in turn: {summary['suspects']} suspects, "
        f'{summary["decisions"]} decisions. Intervals: 95 %, concepts drawn with replacement. "One threshold" pools '
        'all suspects; "paired" is how often a picture scores higher as a member than the same picture as a holdout.',
        "",
        "## AUC",
        "",
        *_rule("preset", "evaluations", "score", "one threshold", "interval", "per suspect", "paired", *MODES),
    ]
    for preset, entry in summary["trained"].items():
        for name, v in entry["scores"].items():
            auc, own, paired = f"{v['auc']:.3f}", f"{v['auc_per_suspect']:.3f}", f"{v['paired_win_rate']:.0%}"
            modes = [f"{v['by_mode'][m]:.3f}" if m in v["by_mode"] else "" for m in MODES]
            cells = [f"`{preset}`", entry["evaluations"], f"`{name}`", auc, _range(v["interval"]), own, paired]
            lines.append(_row(*cells, *modes))
    lines += ["", "## Suspects that must sit at 0.5 (`fast`)", "", *_rule("suspect", "score", "AUC", "interval")]
    for role, entry in summary["chance"].items():
        lines += [_row(role, f"`{n}`", f"{v['auc']:.3f}", _range(v["interval"])) for n, v in entry.items()]
    lines += ["", "## The public code's way of scoring: accuracy", ""]
    lines += _rule("recovery and score", "threshold from other concepts", "threshold chosen on these scores")
    for name, v in summary["deviations"].items():
        lines.append(_row(f"`{name}`", f"{v['other_concepts']:.3f}", f"{v['in_sample']:.3f}"))
    return "\n".join(lines) + "\n"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _rule(*heads: str) -> list[str]:
    return [_row(*heads), _row(*["---"] * len(heads))]


def _range(interval: list[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def plot_curves(curves: dict[str, list[list[float]]], out: Path) -> None:
    """AUC against network evaluations, a line for each preset and score."""
    colours = {"fast": "#1b6ca8", "paper": "#c0392b", "reference": "#7f8c8d", "loss_contrast": "#2e7d32"}
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for name, points in curves.items():
        preset, score = name.split(" ")
        label = score if preset == score else f"{preset}: {score}"
        style = "--" if score == "removed_cosine" else "-"
        axes.plot(*zip(*points, strict=True), style, marker=".", color=colours[preset], label=label)
    axes.axhline(0.5, color="black", linewidth=0.5)
    axes.set(xscale="log", xlabel="network evaluations for one picture", ylabel="AUC, one threshold for all suspects")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=120)
    plt.close(figure)


def _chance(scores: pd.DataFrame, role: str, name: str) -> dict[str, Any]:
    table = decisions(scores, role, "loss_contrast" if name == "loss_contrast" else "fast", name)
    interval = [round(v, 3) for v in auc_interval(table)]
    return {"auc": round(pooled_auc(table), 4), "interval": interval}


def _curve(scores: pd.DataFrame, preset: str, name: str) -> list[list[float]]:
    at = sorted(scores.query("role == 'trained' and preset == @preset")["evaluations"].unique())
    return [[int(e), round(pooled_auc(decisions(scores, "trained", preset, name, e)), 4)] for e in at]
