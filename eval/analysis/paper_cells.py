"""Cells of committed results, as the page on the paper needs them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from eval.analysis.metrics import accuracy, pooled_auc

PLACES = [(d, t) for d in ("wikiart", "dreambooth") for t in ("dreambooth-prior", "dreambooth", "lora")]
PIPELINES = ("text2img", "ddnm", "img2img")
WITNESS, EMBEDDER, RAW = "removed_alignment", "efficientnet_lite0", "removed_cosine"
EVALUATIONS_OF_A_STEP = 2  # base and suspect


def read_summary(results: Path, name: str) -> list[dict[str, Any]]:
    """The cells of suspects that were trained on the concepts they are asked about."""
    return json.loads((results / "mini" / name / "summary.json").read_text(encoding="utf-8"))["trained"]


def table1_columns(results: Path, method: str, measure: str) -> list[dict[str, Any]]:
    """Cells of Table 1 in the order of `PLACES`."""
    found = {(e["dataset"], e["training"]): e for e in read_summary(results, "table1") if _is(e, method, measure)}
    return [found[place] for place in PLACES]


def read_cells(
    results: Path, name: str, factor: str, method: str = "cgidm", own: bool = False
) -> dict[str, dict[str, dict[str, Any]]]:
    """Value of the factor -> measure -> cell, of one method, or of each value's `own`."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for e in read_summary(results, name):
        if own or e["method"] == method:
            found.setdefault(e[factor], {})[e["measure"]] = e
    return {name: found[name] for name in sorted(found, key=_order)}


def table3_cells(results: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of both committed experiments, or of the one there is."""
    found = read_cells(results, "table3", "dataset")
    mixtures = results / "mini" / "table3-mixtures" / "summary.json"
    return found | (read_cells(results, "table3-mixtures", "dataset") if mixtures.exists() else {})


def _order(name: str) -> tuple[int, str]:
    """Numbers by their size, what is not changed first."""
    digits = "".join(filter(str.isdigit, name))
    return (int(digits) if digits else (-1 if name.startswith("no ") else 100), name)


def _is(entry: Mapping[str, Any], method: str, measure: str) -> bool:
    return entry["method"] == method and entry["measure"] == measure


def extraction_cells(results: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Number of extraction steps, in words -> measure -> cell, of the recoveries with the paper's settings."""
    found = read_cells(results, "figure3b", "method", own=True)
    return {name.split(", ")[1]: by for name, by in found.items()}


def extraction_curve(results: Path) -> dict[int, tuple[float, float]]:
    """Extraction steps -> AUC and fitted accuracy of `reference`, by the raw cosine of the removed cells."""
    rows = pd.read_parquet(results / "mini" / "time" / "scores.parquet")
    rows = rows.query("method == 'reference' and measure == @RAW and role == 'trained'")
    found = {}
    for evaluations in sorted(set(rows["evaluations"])):
        part = rows.query("evaluations == @evaluations")
        found[int(evaluations) // EVALUATIONS_OF_A_STEP] = (pooled_auc(part), accuracy(part, "in_sample"))
    return found
