"""What scores are worth. Knows tables of numbers: no tensor, no model.

A table has one row for each decision: `concept`, `suspect`, `picture`, `member` (1 or 0) and `score`, of which higher
means more likely a member. Pictures of one concept share a suspect, so intervals come from resampling concepts.
"""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score, roc_curve

Threshold = Literal["in_sample", "other_concepts"]


def pooled_auc(table: pd.DataFrame) -> float:
    """AUC of all decisions under one threshold for every suspect."""
    return float(roc_auc_score(table["member"], table["score"]))


def auc_per_suspect(table: pd.DataFrame) -> float:
    """Mean over suspects of the AUC of each: a threshold of its own for every suspect."""
    return float(np.mean([pooled_auc(group) for _, group in table.groupby("suspect")]))


def paired_win_rate(table: pd.DataFrame) -> float:
    """How often a picture scores higher as a member than the same picture as a holdout; a tie counts half.

    Needs a crossed design: each picture once in either role.
    """
    roles = table.pivot(index=["concept", "picture"], columns="member", values="score")
    return float((np.sign(roles[1] - roles[0]) / 2 + 0.5).mean())


def accuracy(table: pd.DataFrame, threshold: Threshold) -> float:
    """Share of right decisions at one threshold for all concepts.

    "in_sample" takes the best threshold on the very scores that are reported, as the paper's public code does: an
    upper bound that no user ever gets. "other_concepts" fits it for each concept on all the others.
    """
    if threshold == "in_sample":
        right = _right(table, best_threshold(table["member"], table["score"]))
    else:
        names = table["concept"].unique()
        parts = [(table.query("concept != @c"), table.query("concept == @c")) for c in names]
        right = np.concatenate([_right(t, best_threshold(o["member"], o["score"])) for o, t in parts])
    return float(np.mean(right))


def best_threshold(member: ArrayLike, score: ArrayLike) -> float:
    """The threshold with the most right decisions; a score at or above it is called a member."""
    member = np.asarray(member)
    false_positive_rate, true_positive_rate, thresholds = roc_curve(member, score, drop_intermediate=False)
    right = true_positive_rate * (member == 1).sum() - false_positive_rate * (member == 0).sum()
    best = int(np.argmax(right))
    following = thresholds[best + 1] if best + 1 < len(thresholds) else thresholds[best]
    return float(thresholds[best] if np.isinf(thresholds[best]) else (thresholds[best] + following) / 2)


def auc_interval(table: pd.DataFrame, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of `pooled_auc`, concepts drawn with replacement.

    The AUC is a sum over pairs of concepts of the wins of one's members over the other's holdouts, so a resample only
    weights that matrix.
    """
    groups = [group for _, group in table.groupby("concept")]
    members, holdouts = ([g.loc[g["member"] == role, "score"].to_numpy() for g in groups] for role in (1, 0))
    wins = np.array([[(np.sign(m[:, None] - h) / 2 + 0.5).sum() for h in holdouts] for m in members])
    n = len(groups)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    pairs = (weights @ [len(m) for m in members]) * (weights @ [len(h) for h in holdouts])
    low, high = np.percentile(((weights @ wins) * weights).sum(1) / pairs, [2.5, 97.5])
    return float(low), float(high)


def _right(table: pd.DataFrame, threshold: float) -> np.ndarray:
    return ((table["score"] >= threshold) == (table["member"] == 1)).to_numpy()
