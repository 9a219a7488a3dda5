"""Error rates by counting: how often a verdict from a bank of null models is wrong, and how often it finds a member.

Each suspect of an experiment is judged against the models of the *other* random splits of the same artist's pictures.
They take the place of a user's bank. This module needs scores and statistics, no model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, kstest

from cgidm.judging.portfolio import count_used, judge_set
from cgidm.judging.verdict import LEVEL, conformal_p_value, is_positive, judge
from eval.benchmark.experiment import Experiment
from eval.error_rates.scoring import SuspectScores

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a portfolio that was used
PORTFOLIO = 10  # pictures
REPEATS = 20
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Reference:
    """Scores of a bank: of pictures that its models left out, and of pictures that they were trained on."""

    nulls: tuple[float, ...]
    members: tuple[float, ...]


@dataclass(frozen=True)
class Decision:
    """One picture judged under one suspect."""

    training: str
    concept: str
    suspect: str
    file: str
    member: int
    score: float
    p_value: float
    smooth_p: float  # ties and steps broken by lot: uniform under the null if the test is exact
    outcome: str
    stranger_p: float | None  # against pictures of other artists under the same suspect


def reference_of(suspect: SuspectScores, scored: Sequence[SuspectScores], experiment: Experiment) -> Reference:
    """Return the bank of one suspect: models of the same artist and training, on other splits.

    A model of the suspect's own split was trained on the complement, so it is left out.
    """
    folder = experiment.datasets[suspect.dataset].folder
    models = [
        a
        for a in scored
        if (a.concept, a.training) == (suspect.concept, suspect.training)
        and a.dataset != suspect.dataset
        and experiment.datasets[a.dataset].folder == folder
    ]
    entries = [(m, s) for a in models for m, s in zip(a.member, a.scores, strict=True)]
    return Reference(tuple(s for m, s in entries if not m), tuple(s for m, s in entries if m))


def decide(scored: Sequence[SuspectScores], experiment: Experiment, seed: int = 0) -> list[Decision]:
    """Judge every picture under every suspect of its artist. `seed` draws the ties of `smooth_p`."""
    rng, found = np.random.default_rng(seed), []
    for a in scored:
        nulls = reference_of(a, scored, experiment).nulls
        for file, member, score in zip(a.files, a.member, a.scores, strict=True):
            above, ties = sum(n > score for n in nulls), sum(n == score for n in nulls)
            smooth = float((above + rng.uniform() * (1 + ties)) / (len(nulls) + 1))
            stranger = conformal_p_value(score, a.other_scores) if a.other_scores else None
            p, outcome = conformal_p_value(score, nulls), judge(score, nulls, []).outcome
            name = f"{a.dataset}/{a.concept}-{'ab'[a.half]}"
            found.append(Decision(a.training, a.concept, name, file, member, score, p, smooth, outcome, stranger))
    return found


def summarise(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Summarise one training: false positives with their interval, power, uniformity of null p-values."""
    holdouts, members = ([d for d in decisions if d.member == m] for m in (0, 1))
    ks = kstest([d.smooth_p for d in holdouts], "uniform")
    crossed = [d for d in holdouts if d.stranger_p is not None]
    return {
        "concepts": len({d.concept for d in decisions}),
        "suspects": len({d.suspect for d in decisions}),
        "level": LEVEL,
        "p at or below the level": share([d.p_value <= LEVEL for d in holdouts]),
        "called, holdouts": share([is_positive(d.outcome) for d in holdouts]),
        "called, members": share([is_positive(d.outcome) for d in members]),
        "called, holdouts, against pictures of other makers": share([(d.stranger_p or 0) <= LEVEL for d in crossed]),
        "uniformity": {"test": "Kolmogorov-Smirnov", "statistic": float(ks.statistic), "p_value": float(ks.pvalue)},
        "worst concept": max(
            (float(np.mean([d.p_value <= LEVEL for d in holdouts if d.concept == c])), c)
            for c in {d.concept for d in holdouts}
        ),
    }


def share(calls: Sequence[bool]) -> dict[str, Any] | None:
    """Return the share of true values with its exact binomial interval (Clopper and Pearson 1934)."""
    if not calls:
        return None
    found = binomtest(int(sum(calls)), len(calls)).proportion_ci(CONFIDENCE, method="exact")
    return {
        "count": int(sum(calls)),
        "of": len(calls),
        "share": float(np.mean(calls)),
        "interval": [*map(float, found)],
    }


def portfolios(scored: Sequence[SuspectScores], experiment: Experiment, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Judge sets of ten pictures of which a known share was used.

    Each row says whether the number of used pictures is inside the bounds, and whether the set is called. The repeats
    of a cell are of different artists and suspects. A quarter of ten is two and three alternately.
    """
    rng = np.random.default_rng(seed)
    whole = [a for a in scored if sum(a.member) >= PORTFOLIO and len(a.member) - sum(a.member) >= PORTFOLIO]
    for training in dict.fromkeys(a.training for a in scored):
        by_artist: dict[str, list[SuspectScores]] = {}
        for a in whole:
            if a.training == training:
                by_artist.setdefault(a.concept, []).append(a)
        artists = sorted(by_artist)
        for portion in SHARES if artists else ():
            for repeat in range(REPEATS):
                suspects = by_artist[artists[repeat % len(artists)]]
                a = suspects[int(rng.integers(len(suspects)))]
                exact = portion * PORTFOLIO
                used = int(np.floor(exact)) if repeat % 2 == 0 else int(np.ceil(exact))
                yield {"training": training, "portion": portion, **_one_portfolio(a, used, scored, experiment, rng)}


def _one_portfolio(
    a: SuspectScores, used: int, scored: Sequence[SuspectScores], experiment: Experiment, rng: np.random.Generator
) -> dict[str, Any]:
    groups = [[s for s, m in zip(a.scores, a.member, strict=True) if m == role] for role in (1, 0)]
    chosen = [*rng.choice(groups[0], used, replace=False), *rng.choice(groups[1], PORTFOLIO - used, replace=False)]
    reference = reference_of(a, scored, experiment)
    bounds = count_used(chosen, reference.nulls, reference.members)
    verdict = judge_set(chosen, reference.nulls, [], members=reference.members)
    return {
        "suspect": f"{a.dataset}/{a.concept}-{'ab'[a.half]}",
        "used": used,
        "low": bounds.low,
        "high": bounds.high,
        "covered": bounds.low <= used <= bounds.high,
        "p_value": verdict.p_value,
        "called": is_positive(verdict.outcome),
    }


def summarise_portfolios(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one cell for each training and share."""
    cells: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["training"], row["portion"]), []).append(row)
    return [
        {
            "training": training,
            "portion": portion,
            "repeats": len(rows),
            "covered": sum(r["covered"] for r in rows),
            "called": sum(r["called"] for r in rows),
            "mean width": float(np.mean([r["high"] - r["low"] for r in rows])),
        }
        for (training, portion), rows in cells.items()
    ]
