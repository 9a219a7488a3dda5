"""`python -m eval likelihood`: fit the likelihood ratios of the mirror test's scores, and count how well they hold.

No model is needed: the scores are the committed ones of `eval mirror`, the distances those of `eval wild`. Every ratio
that is counted comes from a fit without the picture's artist. Suspects of other trainings, which entered no fit, are
judged by their answers in `eval wild`; a p-value there says between which two null scores the picture's lies.
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, log2, log10
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from cgidm.files import write_atomically
from cgidm.judging.mirror_test import MirrorReference, MirrorTable, table_reference
from cgidm.judging.tables.files import read_tables
from cgidm.judging.tables.likelihood_ratio import Coefficients, LikelihoodTable, regressors
from cgidm.resources import base_folder
from cgidm.training.trained_model import weight_digests
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table

# trainings of `eval mirror` -> the same training in `eval wild`, where the suspects' distances were measured
TRAININGS = {
    "lora-5": "presented 5 times",
    "lora-10": "presented 10 times",
    "lora-20": "presented 20 times",
    "lora-40": "presented 40 times",
    "lora": "laboratory",
}
DATASETS = ("wikiart", "illustrators")  # of artists; neither photographed subjects nor mixtures
RESAMPLES = 200
EDGES = tuple(10.0**e for e in (-1.5, -1, -0.5, 0, 0.5, 1, 1.5))  # of ratios that are counted together
LARGE = 10.0
FLAT = 1e6  # inverse strength of the regression's penalty: none


@dataclass(frozen=True)
class Scored:
    """One picture under one suspect."""

    row: str
    artist: str
    used: bool
    score: float
    distance: float


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    tables = read_tables(MirrorTable, o.nulls.name, "judging.damaged_mirror_table", o.nulls.parent)
    base = tuple(sorted(weight_digests(str(base_folder()))))
    mirror_table = next(t for t in tables if t.base == base)
    distances = {row["suspects"]: row["distance"] for row in json.loads((o.wild / "wild.json").read_text())["rows"]}
    fitted = _read_mirror(o.mirror / "decisions.csv", {t: distances[row] for t, row in TRAININGS.items()})
    foreign = [s for s in _read_wild(o.wild / "answers.csv", mirror_table) if s.row not in TRAININGS.values()]
    table = _table(fitted, mirror_table)
    of_fit, of_foreign = out_of_sample(fitted, fitted), out_of_sample(fitted, foreign)
    report = rounded(
        {
            "trainings": count_rows(of_fit),
            "calibration": calibration(of_fit),
            "other trainings": count_rows(of_foreign),
            "calibration of other trainings": calibration([r for r in of_foreign if not r[0].row.startswith("flips")]),
            "coefficients": table.coefficients,
        }
    )
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "likelihood.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "likelihood.md").write_text(likelihood_text(report))
    if o.table is not None:
        write_atomically(o.table, json.dumps(rounded([table.model_dump()])) + "\n")
    print(likelihood_text(report), end="")


def fit(scored: Sequence[Scored]) -> Coefficients:
    """Fit the regression: each training counts alike, and in it used and unused pictures."""
    sizes: dict[tuple[str, bool], int] = {}
    for s in scored:
        sizes[s.row, s.used] = sizes.get((s.row, s.used), 0) + 1
    weights = np.array([1 / sizes[s.row, s.used] for s in scored])
    features = np.array([regressors(s.score, s.distance) for s in scored])
    model = LogisticRegression(C=FLAT, fit_intercept=False, max_iter=1000)
    model.fit(features, [s.used for s in scored], sample_weight=weights / weights.mean())
    a, b, c, d = model.coef_[0].tolist()
    return a, b, c, d


def out_of_sample(fitted: Sequence[Scored], judged: Sequence[Scored]) -> list[tuple[Scored, float]]:
    """The natural logarithm of each picture's ratio, by a fit that its artist did not enter."""
    found = []
    for artist in dict.fromkeys(s.artist for s in judged):
        others = [s for s in fitted if s.artist != artist]
        coefficients, highest = np.array(fit(others)), _highest_unused(others)
        weakest, strongest = _range(others)
        for s in judged:
            if s.artist == artist:
                distance = min(max(s.distance, weakest), strongest)
                found.append((s, float(coefficients @ regressors(min(s.score, highest), distance))))
    return found


def _table(fitted: Sequence[Scored], nulls: MirrorTable) -> LikelihoodTable:
    """What verdicts use: the fit of all artists, and fits of artists drawn with replacement."""
    artists, rng = sorted({s.artist for s in fitted}), np.random.default_rng(0)
    by_artist = {a: [s for s in fitted if s.artist == a] for a in artists}
    drawn = [rng.choice(artists, len(artists)) for _ in range(RESAMPLES)]
    return LikelihoodTable(
        base=nulls.base,
        draws=nulls.draws,
        distances=_range(fitted),
        highest_unused=_highest_unused(fitted),
        coefficients=fit(fitted),
        resampled=tuple(fit([s for a in some for s in by_artist[a]]) for some in drawn),
    )


def _range(scored: Sequence[Scored]) -> tuple[float, float]:
    return min(s.distance for s in scored), max(s.distance for s in scored)


def _highest_unused(scored: Sequence[Scored]) -> float:
    return max(s.score for s in scored if not s.used)


def _read_mirror(path: Path, distances: dict[str, float]) -> list[Scored]:
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["suspect"].split("-")[0] in DATASETS]
    return [
        Scored(r["training"], r["artist"], r["member"] == "1", float(r["score"]), distances[r["training"]])
        for r in rows
        if r["training"] in distances
    ]


def _read_wild(path: Path, table: MirrorTable) -> list[Scored]:
    """The answers of the mirror test in one framing; what has no p-value is left out."""
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["p_value"] and r["framings"] == "1"]
    without = {a: [g for g in table.groups if g.artist != a] for a in {r["artist"] for r in rows}}
    references = {a: table_reference(groups) for a, groups in without.items()}
    return [
        Scored(
            r["row"],
            r["artist"],
            r["member"] == "1",
            score_of(float(r["p_value"]), references[r["artist"]]),
            float(r["distance"]),
        )
        for r in rows
    ]


def score_of(p_value: float, reference: MirrorReference) -> float:
    """The score of a p-value: the middle of the two null scores between which it lies, beyond the last one that one."""
    nulls = sorted(reference.scores, reverse=True)
    above = round(p_value * (len(nulls) + 1)) - 1
    around = [nulls[i] for i in (above - 1, above) if 0 <= i < len(nulls)]
    return fmean(around) + reference.allowance


def count_rows(judged: Sequence[tuple[Scored, float]]) -> list[dict[str, Any]]:
    """How the ratios of each training came out."""
    rows = []
    for row in dict.fromkeys(s.row for s, _ in judged):
        used = [value for s, value in judged if s.row == row and s.used]
        unused = [value for s, value in judged if s.row == row and not s.used]
        rows.append(
            {
                "row": row,
                "distance": fmean(s.distance for s, _ in judged if s.row == row),
                "Cllr": cllr(used, unused),
                "median of used": exp(median(used)),
                "median of unused": exp(median(unused)),
                "used above 1": fmean(v > 0 for v in used),
                "unused above 1": fmean(v > 0 for v in unused),
                "used above 10": fmean(v > log(LARGE) for v in used),
                "unused above 10": fmean(v > log(LARGE) for v in unused),
                "largest of unused": exp(max(unused)),
            }
        )
    return rows


def cllr(used: Sequence[float], unused: Sequence[float]) -> float:
    """The log-likelihood-ratio cost (Brümmer and du Preez 2006): 0 is perfect, 1 says nothing.

    Args:
        used: natural logarithms of the ratios of used pictures.
        unused: those of unused pictures.
    """
    return (fmean(log2(1 + exp(-v)) for v in used) + fmean(log2(1 + exp(v)) for v in unused)) / 2


def calibration(judged: Sequence[tuple[Scored, float]]) -> list[dict[str, Any]]:
    """What ratios state, and what was observed: shares of used and of unused pictures that have such a ratio."""
    edges, total = [log10(e) for e in EDGES], {u: sum(s.used is u for s, _ in judged) for u in (True, False)}
    rows = []
    for i in range(len(edges) + 1):
        some = [(s, v) for s, v in judged if np.digitize(v / log(10), edges) == i]
        counts = {u: sum(s.used is u for s, _ in some) for u in (True, False)}
        shares = {u: counts[u] / total[u] for u in counts}
        rows.append(
            {
                "from": EDGES[i - 1] if i else 0.0,
                "stated": exp(fmean(v for _, v in some)) if some else None,
                "observed": shares[True] / shares[False] if counts[False] else None,
                "used": counts[True],
                "unused": counts[False],
            }
        )
    return rows


def likelihood_text(report: dict[str, Any]) -> str:
    """The tables in Markdown."""
    return "\n\n".join(
        (
            "# Likelihood ratios of the mirror test's scores",
            "`python -m eval likelihood`. Every ratio comes from a fit without the picture's artist.",
            rows_table(report["trainings"]),
            calibration_table(report["calibration"]),
            "## Trainings that entered no fit",
            rows_table(report["other trainings"]),
            "Stated and observed, without the suspects whose trainer mirrored its pictures:",
            calibration_table(report["calibration of other trainings"]) + "\n",
        )
    )


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How the ratios of each training came out."""
    columns = ["training", "Cllr", "median ratio: used, unused", "above 1: used, unused", "above 10: used, unused"]
    body = [
        [
            r["row"],
            f"{r['Cllr']:.2f}",
            f"{_two_digits(r['median of used'])}, {_two_digits(r['median of unused'])}",
            f"{r['used above 1']:.0%}, {r['unused above 1']:.0%}",
            f"{r['used above 10']:.0%}, {r['unused above 10']:.1%}",
        ]
        for r in rows
    ]
    return markdown_table(columns, body, spaced=True)


def calibration_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was stated, and what was observed."""
    body = [
        [
            "" if r["stated"] is None else _two_digits(r["stated"]),
            "no unused picture" if r["observed"] is None else _two_digits(r["observed"]),
            r["used"],
            r["unused"],
        ]
        for r in rows
    ]
    columns = ["ratio stated (geometric mean)", "observed", "used pictures", "unused pictures"]
    return markdown_table(columns, body, spaced=True)


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
