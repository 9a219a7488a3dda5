"""`python -m eval combined`: what the mirror test and a bank of null models find together.

It reads the committed scores of `eval mirror` and `eval rates`, which judged the same suspects. A picture's mirror test
is judged by other artists' null scores. Its residual is judged by a bank of the artist's three other models, or of two
of them. Counted are both by themselves and combined as a verdict combines them (`cgidm.judging.verdict.combine`).
"""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from cgidm.judging.verdict import CORRELATION, LEVEL, STRICT_LEVEL, combine
from eval.error_rates.banks.residuals import (
    RANKINGS,
    TITLES,
    USUAL,
    judge_by_others,
    judge_by_three,
    read_scores,
    two_model_residuals,
)
from eval.error_rates.mirror_rates import share_by_artist
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import RESULTS

BANKS = {"three models": RANKINGS[1], "two models": RANKINGS[2]}
TESTS = ("mirror test", "bank", "both")
MIXTURE = RESULTS / "mini" / "rates-mixture"  # suspects of many artists: in no table, judged by the tables
LEAST_P = 1e-3  # p-values are cut there and at 1 - it, so that a few do not make the correlation
RESAMPLES = 1000


@dataclass(frozen=True)
class Pair:
    """One picture under one suspect, judged by both tests."""

    training: str
    artist: str
    used: bool
    by_mirror: float
    by_bank: float

    def p_value(self, test: str) -> float:
        """The p-value of one of `TESTS`."""
        return {"mirror test": self.by_mirror, "bank": self.by_bank}.get(test, combine(self.by_mirror, self.by_bank))


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    scores = [s for name in USUAL for s in read_scores(RESULTS / "mini" / name / "decisions.csv")]
    trainings = list(dict.fromkeys(s.training for s in scores))
    by_training = {t: [s for s in scores if s.training == t] for t in trainings}
    residuals = [found for t in trainings for found in two_model_residuals(by_training[t])]
    judged = [*judge_by_others(residuals), *(j for t in trainings for j in judge_by_three(by_training[t]))]
    mixture = read_scores(MIXTURE / "decisions.csv")
    judged += [*judge_by_others(list(two_model_residuals(mixture)), residuals), *judge_by_three(mixture)]
    mirror = _read_mirror(o.mirror / "decisions.csv") | _read_mirror(MIXTURE / "mirror" / "decisions.csv")
    report: dict[str, Any] = {"allowed correlation": CORRELATION, "correlation": {}, "rows": []}
    for bank, ranking in BANKS.items():
        p_values = {(*j.scored.group[1:], j.scored.file): j.p_value for j in judged if j.ranking == ranking}
        pairs = [
            Pair(key[0], artist, used, p, p_values[key]) for key, (artist, used, p) in mirror.items() if key in p_values
        ]
        report["correlation"][bank] = correlation([p for p in pairs if p.training in trainings])
        report["rows"] += list(_rows(bank, pairs))
    report = rounded(report)
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "combined.json").write_text(json.dumps(report, indent=1) + "\n")
    text = f"# The mirror test and a bank together\n\n`python -m eval combined`\n\n{combined_table(report)}\n"
    (o.out / "combined.md").write_text(text)
    print(text, end="")


def _read_mirror(path: Path) -> dict[tuple[str, str, str], tuple[str, bool, float]]:
    """Training, suspect and file -> artist, whether it was used, p-value."""
    with path.open(newline="") as file:
        return {
            (r["training"], r["suspect"], r["file"]): (r["artist"], r["member"] == "1", float(r["p_value"]))
            for r in csv.DictReader(file)
        }


def correlation(pairs: Sequence[Pair]) -> dict[str, float]:
    """The correlation of both tests' normal scores over unused pictures, and 95 % of a bootstrap over artists."""
    unused = [p for p in pairs if not p.used]
    artists, rng = sorted({p.artist for p in unused}), np.random.default_rng(0)
    z = {a: np.array([_normal_scores(p) for p in unused if p.artist == a]) for a in artists}
    drawn = [np.concatenate([z[a] for a in rng.choice(artists, len(artists))]) for _ in range(RESAMPLES)]
    low, high = np.quantile([_correlation(some) for some in drawn], [0.025, 0.975])
    return {"estimate": _correlation(np.concatenate(list(z.values()))), "low": float(low), "high": float(high)}


def _normal_scores(pair: Pair) -> tuple[float, float]:
    one, other = np.clip([pair.by_mirror, pair.by_bank], LEAST_P, 1 - LEAST_P)
    return float(norm.isf(one)), float(norm.isf(other))


def _correlation(z: np.ndarray) -> float:
    return float(np.corrcoef(z.T)[0, 1])


def _rows(bank: str, pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    for training in dict.fromkeys(p.training for p in pairs):
        some = [p for p in pairs if p.training == training]
        for test in TESTS:
            rates = {
                f"{name} at {level}": share_by_artist(
                    [(p.artist, p.p_value(test) <= level) for p in some if p.used is used], worst
                )
                for level in (LEVEL, STRICT_LEVEL)
                for name, used, worst in (("unused", False, max), ("used", True, min))
            }
            yield {"bank": bank, "training": training, "test": test, **rates}


def combined_table(report: Mapping[str, Any]) -> str:
    """The rates in Markdown."""
    body = [
        [
            TITLES[r["training"]],
            r["test"] if r["test"] == "mirror test" else f"{r['test']}, {r['bank']}",
            *(_share(r[f"{name} at {level}"]) for level in (LEVEL, STRICT_LEVEL) for name in ("unused", "used")),
        ]
        for r in report["rows"]
        if r["test"] != "mirror test" or r["bank"] == next(iter(BANKS))
    ]
    body.sort(key=lambda row: list(TITLES.values()).index(row[0]))
    columns = ["", "judged by", "unused called, 5 %", "used called, 5 %", "unused called, 1 %", "used called, 1 %"]
    return markdown_table(columns, body, spaced=True)


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['share']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
