"""From the ledger's rows to the table of membership tests."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from eval.comparison import compare
from eval.ledger import Row
from eval.metrics import accuracy, auc_interval, auc_per_suspect, paired_win_rate, pooled_auc, tpr_at_fpr

REFERENCE = "loss_contrast"  # what the verdict rests on: every method is compared with it
FALSE_POSITIVES = (0.05, 0.01)


def write_membership(rows: Sequence[Row], out: Path) -> None:
    """Write `scores.csv`, `summary.json` and `table.md` to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    scores = pd.DataFrame([asdict(row) for row in rows]).drop(columns="key")
    scores.to_csv(out / "scores.csv", index=False, float_format="%.6g")
    summary = summarise_membership(pd.read_csv(out / "scores.csv"))
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (out / "table.md").write_text(membership_table(summary))


def summarise_membership(scores: pd.DataFrame) -> dict[str, Any]:
    """Every number that the table shows."""
    trained = {str(name): t for name, t in scores.query("role == 'trained'").groupby("method", sort=False)}
    first = next(iter(trained.values()))
    return {
        "concepts": len(set(first["concept"])),
        "suspects": len(set(first["suspect"])),
        "members": len(first.query("member == 1")),
        "holdouts": len(first.query("member == 0")),
        "methods": {name: _worth(t, trained[REFERENCE]) | _chance(scores, name) for name, t in trained.items()},
    }


def membership_table(summary: dict[str, Any]) -> str:
    """The table, for people, the best method first."""
    heads = ["method", "evaluations", "AUC", "95 %", "per suspect", "paired", "DreamBooth", "LoRA", "accuracy"]
    heads += [f"TPR at {rate:.0%} FPR" for rate in FALSE_POSITIVES]
    heads += [f"AUC against `{REFERENCE}`", "p", "unrelated", "innocent"]
    lines = [
        f"{summary['concepts']} concepts, each half trained on in turn: {summary['suspects']} suspects, "
        f"{summary['members']} decisions on members and {summary['holdouts']} on holdouts, one threshold for all. "
        "Intervals and p: concepts drawn with replacement. Accuracy: threshold fitted on the other concepts.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for name, m in sorted(summary["methods"].items(), key=lambda item: -item[1]["auc"]):
        cells = [f"`{name}`", m["evaluations"], f"{m['auc']:.3f}", _range(m["interval"]), f"{m['auc_per_suspect']:.3f}"]
        cells += [
            f"{m['paired_win_rate']:.0%}",
            *(f"{m['by_mode'].get(mode, float('nan')):.3f}" for mode in ("dreambooth", "lora")),
        ]
        cells += [f"{m['accuracy']:.3f}"]
        cells += ["n too small" if rate is None else f"{rate:.0%}" for rate in m["tpr"].values()]
        against = m["against_reference"]
        cells += ["", ""] if against is None else [f"{against['difference']:+.3f}", f"{against['p_value']:.4f}"]
        cells += [f"{m[role]['auc']:.2f} ({_range(m[role]['interval'])})" for role in ("unrelated", "innocent")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _worth(table: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    same = table["method"].iloc[0] == REFERENCE
    against = None if same else compare(table, reference)
    return {
        "evaluations": int(table["evaluations"].iloc[0]),
        "auc": round(pooled_auc(table), 4),
        "interval": [round(v, 3) for v in auc_interval(table)],
        "auc_per_suspect": round(auc_per_suspect(table), 4),
        "paired_win_rate": round(paired_win_rate(table), 4),
        "by_mode": {str(mode): round(pooled_auc(t), 4) for mode, t in table.groupby("mode")},
        "accuracy": round(accuracy(table, "other_concepts"), 4),
        "tpr": {f"{rate:.0%}": _rounded(tpr_at_fpr(table, rate)) for rate in FALSE_POSITIVES},
        "against_reference": against
        and {
            "difference": round(against.difference, 4),
            "interval": [round(v, 3) for v in against.interval],
            "p_value": round(against.p_value, 4),
        },
    }


def _chance(scores: pd.DataFrame, method: str) -> dict[str, Any]:
    """The suspects that know nothing of these pictures."""
    found = {}
    for role in ("unrelated", "innocent"):
        table = scores.query("role == @role and method == @method")
        found[role] = {"auc": round(pooled_auc(table), 4), "interval": [round(v, 3) for v in auc_interval(table)]}
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _range(interval: Sequence[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"
