"""The leaderboard: results on one frozen split, measured anew from each entry's scores.

An entry is a folder as `python -m eval run` writes it, of an experiment that differs from the preset `leaderboard` in
its methods alone. What an entry says of its own numbers is not believed: the board reads its scores.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cgidm.errors import UserError
from cgidm.training.recipe import TrainingRecipe
from cgidm.training.settings import settings_to_table
from eval.analysis.tables import TOLD_GROUPS, last, summarise
from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Row
from eval.benchmark.methods import METHODS
from eval.markdown import markdown_table

PRESET = "leaderboard"
SPLIT = Path(__file__).parents[1] / "presets" / "splits" / "leaderboard.json"  # the manifest, with SHA-256 of pictures
FROZEN = ("base", "dtype", "datasets", "trainings", "seed")  # of the experiment
COLUMNS = ("dataset", "training", "suspect", "concept", "picture", "member")  # of a decision
OURS, UNKNOWN = "this project", "not stated"


def load_split() -> dict[str, Any]:
    """The frozen datasets: concepts, halves, pictures."""
    return json.loads(SPLIT.read_text(encoding="utf-8"))["datasets"]


def read_entry(folder: Path) -> list[dict[str, Any]]:
    """Measure an entry from its scores.

    Returns:
        For each method and measure: its package, evaluations, and the AUC with its numbers by training.

    Raises:
        UserError: if a file is missing, if the entry is of another split or recipe, or if decisions are missing.
    """
    try:
        summary, manifest = (json.loads((folder / f"{n}.json").read_text("utf-8")) for n in ("summary", "manifest"))
        experiment, split = summary["experiment"], manifest["datasets"]
        methods = {label: _package(name, summary) for label, name in _labels(experiment["methods"])}
        rows = pd.read_parquet(folder / "scores.parquet", columns=[f.name for f in fields(Row)]).drop(columns="key")
        table = last(rows.query("role == 'trained'"))  # which refuses what stands twice
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError("benchmark.entry_unreadable", folder=str(folder), reason=reason) from None
    frozen = load_experiment(PRESET).model_dump(mode="json")
    for part in FROZEN:
        if _without_defaults(part, experiment.get(part)) != _without_defaults(part, frozen[part]):
            raise UserError("benchmark.entry_differs", folder=str(folder), part=part)
    if split != load_split():
        raise UserError("benchmark.entry_differs", folder=str(folder), part="split")
    if not np.isfinite(table["score"]).all():
        raise UserError("benchmark.entry_unreadable", folder=str(folder), reason="scores that are no numbers")
    wanted = _decisions()
    for (method, measure), part in table.groupby(["method", "measure"]):  # type: ignore[misc]
        given = set(part[list(COLUMNS)].itertuples(index=False, name=None))
        if given != wanted:
            counts = {"expected": len(wanted), "given": len(given & wanted)}
            raise UserError("benchmark.entry_decisions", folder=str(folder), score=f"{method}.{measure}", **counts)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for e in summarise(table)["trained"]:
        row = {"package": methods.get(e["method"], UNKNOWN), "evaluations": e["evaluations"], "by": {}}
        found.setdefault((e["method"], e["measure"]), row)["by"][e["training"]] = e
    return [{"method": method, "measure": measure, **row} for (method, measure), row in found.items()]


def _without_defaults(part: str, value: Any) -> Any:
    """A part of an experiment; trainings without settings left alone, since an entry may be older than a setting."""
    if part != "trainings" or not isinstance(value, Mapping):
        return value
    try:
        return {name: settings_to_table(TrainingRecipe(**how)) for name, how in value.items()}
    except (TypeError, ValueError):  # none that this version trains by
        return value


def _labels(methods: Sequence[str | Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The names in the tables, each with the method's own."""
    for entry in methods:
        name = entry if isinstance(entry, str) else entry["method"]
        yield (name if isinstance(entry, str) else entry.get("as", name)), name


def _package(name: str, summary: Mapping[str, Any]) -> str:
    return OURS if name in METHODS else summary.get("packages", {}).get(name, UNKNOWN)


def leaderboard_table(results: Path) -> str:
    """The board: every measure of every entry below `results`, the highest mean AUC first."""
    rows = [row for folder in sorted(p.parent for p in results.glob("*/summary.json")) for row in read_entry(folder)]
    rows = [row for row in rows if not row["measure"].endswith(TOLD_GROUPS)]
    rows.sort(key=lambda r: (-_mean(r), r["method"], r["measure"]))
    trainings = list(load_experiment(PRESET).trainings)
    heads = ["", "method", "of", "evaluations", *(f"AUC, {t}" for t in trainings)]
    heads += [f"{t}: accuracy, threshold of the other author" for t in trainings]
    table = []
    for place, row in enumerate(rows, 1):
        cells = [row["by"][t] for t in trainings]
        aucs = (f"{c['auc']:.3f}" for c in cells)
        right = (f"{c['accuracy']['other_concepts']:.3f}" for c in cells)
        table.append([place, f"`{row['method']}.{row['measure']}`", row["package"], row["evaluations"], *aucs, *right])
    return markdown_table(heads, table) + "\n"


def _mean(row: dict[str, Any]) -> float:
    return sum(c["auc"] for c in row["by"].values()) / len(row["by"])


def _decisions() -> set[tuple[Any, ...]]:
    """Every decision of the frozen split: each picture under the suspects of either half."""
    found = set()
    for name, dataset in load_split().items():
        for concept in dataset["concepts"]:
            for training in load_experiment(PRESET).trainings:
                for half, letter in enumerate("ab"):
                    suspect = f"{name}/{concept['name']}-{letter}-{training}"
                    for own, pictures in enumerate(concept["halves"]):
                        found |= {
                            (name, training, suspect, concept["name"], p["file"], int(own == half)) for p in pictures
                        }
    return found
