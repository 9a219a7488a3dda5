"""From the ledger's rows to files: scores, summary, tables and figures. No tensor, no model, no picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from eval.analysis.fused import fuse
from eval.analysis.plots import plot_evaluations, plot_roc, plot_scores
from eval.analysis.table_rendering import Cell, Table, write_tables
from eval.analysis.tables import factor_table, last, load_paper, summarise, table1, wide
from eval.benchmark.experiment import Experiment
from eval.benchmark.ledger import Row
from eval.benchmark.methods import CGIDM, package_of

PACKAGES = ("torch", "diffusers", "peft", "transformers", "timm", "scikit-learn")


def write_report(
    experiment: Experiment,
    blind: Mapping[str, Any],
    manifest: Mapping[str, Any],
    rows: Sequence[Row],
    out: Path,
    bases: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write to `out` what the experiment found; the same rows give the same bytes.

    `scores.csv` has a line for each decision, `scores.parquet` every number with its key, `summary.json` all numbers
    of the tables, `table.md`, `.tex` and `.csv` the tables. `blind` is what the pictures alone betray, by dataset.
    `bases` are the SHA-256 digests of each base's weights, of an experiment that has several.
    """
    out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([asdict(row) for row in rows])
    table.to_parquet(out / "scores.parquet", index=False, compression="zstd")
    drawn = with_fused(table.drop(columns="key"), experiment)
    table = name_runs(drawn, experiment)
    wide(table).to_csv(out / "scores.csv", index=False)
    summary = summarise(table) | {
        "blind": blind,
        "experiment": experiment.model_dump(mode="json"),
        "versions": {name: version(name) for name in PACKAGES},
    }
    packages = {m.name: found for m in experiment.resolved().values() if (found := package_of(m.name))}
    if packages:
        summary["packages"] = packages  # which package entered a method
    if bases is not None:
        summary["bases"] = {base: list(digests) for base, digests in bases.items()}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    write_tables([*_tables(experiment, table, summary), blind_table(blind)], out, "table")
    _draw(experiment, drawn, out)


def name_runs(table: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The rows, where each number of steps that a recovery is scored after is a method of its own: "LABEL, N steps"."""
    methods = experiment.resolved().items()
    named = {
        (label, at): name for label, m in methods if isinstance(m, CGIDM) for at, name in m.name_runs(label).items()
    }
    pairs = zip(table["method"], table["evaluations"], strict=True)
    return table.assign(method=[named.get((label, at), label) for label, at in pairs])


def with_fused(table: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The rows, and those of the fused rule if the experiment asks for one."""
    parts = experiment.report.fused
    if not parts:
        return table
    chance = experiment.chance.training if experiment.chance else None
    return pd.concat([table, fuse(last(table), parts, chance)], ignore_index=True)


def blind_table(blind: Mapping[str, Any]) -> Table:
    """Whether the pictures alone tell the halves apart."""
    rows = tuple(
        tuple(map(Cell, (name, str(b["n"]), f"{b['auc']:.3f}", f"{b['chance']:.3f}", f"{b['p_value']:.3f}")))
        for name, b in blind.items()
    )
    note = (
        "A classifier that sees no model, only the pictures, is asked which half of its concept a picture is in. "
        "Chance: its median AUC if halves are drawn anew, which need not be 0.5. A small p says that the halves differ "
        "by themselves: then every other number of a one-sided design is confounded."
    )
    return Table("Blind baseline", note, ("dataset", "pictures", "AUC", "chance", "p"), rows)


def _tables(experiment: Experiment, table: pd.DataFrame, summary: dict[str, Any]) -> list[Table]:
    report, paper = experiment.report, load_paper()
    if report.factor is None:
        return list(table1(summary, paper, report.note))
    theirs = paper[report.paper]["rows"] if report.paper else None
    return [factor_table(table, report.factor, report.pairs, experiment.about, report.note, report.values, theirs)]


def _draw(experiment: Experiment, table: pd.DataFrame, out: Path) -> None:
    """ROC, histograms of the first pair, and AUC against evaluations."""
    methods = list(dict.fromkeys(table["method"]))
    pairs = [(m, s) for method, s in experiment.report.pairs for m in ([method] if method else methods)]
    plot_roc(table, pairs, out / "roc.png")
    plot_scores(table, pairs[0], out / "scores.png")
    plot_evaluations(table, pairs, out / "auc-against-evaluations.png")
