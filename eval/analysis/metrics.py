"""What scores are worth. Knows tables of numbers: no tensor, no model.

A table has one row for each decision: `concept`, `suspect`, `picture`, `member` (1 or 0) and `score`, of which higher
means more likely a member. Pictures of one concept share a suspect, so intervals come from resampling concepts.

A table that cannot be measured is refused with a ValueError that says why: members only, holdouts only, a score that
is NaN or infinite.
"""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score, roc_curve

Threshold = Literal["in_sample", "per_concept", "other_concepts"]
FALSE_POSITIVES_NEEDED = 10  # a rate resting on fewer is luck


def pooled_auc(table: pd.DataFrame) -> float:
    """AUC of all decisions under one threshold for every suspect; a tie counts half."""
    check_measurable(table["member"], table["score"])
    return float(roc_auc_score(table["member"], table["score"]))


def auc_per_suspect(table: pd.DataFrame) -> float:
    """Mean over suspects of the AUC of each: a threshold of its own for every suspect.

    All at once by midranks, a hundred times faster than one by one. ValueError if a suspect has members only or
    holdouts only.
    """
    check_measurable(table["member"], table["score"])
    suspect, member = pd.factorize(table["suspect"])[0], table["member"].to_numpy()
    ranks = np.asarray(table.groupby("suspect")["score"].rank())
    members, holdouts = np.bincount(suspect, member), np.bincount(suspect, 1 - member)
    if not (members * holdouts).all():
        raise ValueError("A suspect has members only or holdouts only.")
    below = np.bincount(suspect, ranks * member) - members * (members + 1) / 2
    return float((below / (members * holdouts)).mean())


def paired_win_rate(table: pd.DataFrame) -> float:
    """How often a picture scores higher as a member than the same picture as a holdout; a tie counts half.

    Needs a crossed design: each picture once in either role, else ValueError.
    """
    check_measurable(table["member"], table["score"])
    roles = table.pivot(index=["concept", "picture"], columns="member", values="score")
    if lacking := int(roles.isna().any(axis=1).sum()):
        raise ValueError(f"{lacking} of {len(roles)} pictures are not both a member and a holdout.")
    return float((np.sign(roles[1] - roles[0]) / 2 + 0.5).mean())


def accuracy(table: pd.DataFrame, threshold: Threshold) -> float:
    """Share of right decisions at a fitted threshold.

    "in_sample" takes the best one for all concepts on the very scores that are reported, as the paper (Sec. 4.1) and
    its public code do: an upper bound that no user ever gets. "per_concept" does so for each concept apart (the paper's
    "specific threshold for each style or object", App. J), which flatters still more. "other_concepts" fits it for each
    concept on all the others, so it needs two; ValueError otherwise.
    """
    check_measurable(table["member"], table["score"])
    if threshold == "in_sample":
        return float(_right(table, table).mean())
    own = [table["concept"] == name for name in table["concept"].unique()]
    if threshold == "other_concepts" and len(own) < 2:
        raise ValueError("A threshold from other concepts needs two concepts or more.")
    fitted_on = own if threshold == "per_concept" else [~rows for rows in own]
    right = [_right(table.loc[fit], table.loc[rows]) for fit, rows in zip(fitted_on, own, strict=True)]
    return float(np.concatenate(right).mean())


def tpr_at_fpr(table: pd.DataFrame, fpr: float) -> float | None:
    """Share of members found at the lowest threshold that calls at most `fpr` of the holdouts members, both 0 to 1.

    Thresholds lie at scores, so tied scores are called together, and nothing is interpolated between them. None where
    10 false positives at that rate are more than the holdouts can give, that is below 10 / fpr holdouts: with 10
    holdouts, "at 1 % FPR" is the rank of a single picture. The threshold is fitted on these scores.
    """
    if not 0 < fpr < 1:
        raise ValueError(f"A false-positive rate lies between 0 and 1, and {fpr} does not.")
    check_measurable(table["member"], table["score"])
    members, holdouts = _roles(table)
    if len(holdouts) < FALSE_POSITIVES_NEEDED / fpr:
        return None
    allowed = np.count_nonzero(np.arange(1, len(holdouts) + 1) / len(holdouts) <= fpr)
    return float((members > np.sort(holdouts)[::-1][allowed]).mean())


def best_threshold(member: ArrayLike, score: ArrayLike) -> float:
    """The threshold with the most right decisions; a score at or above it is called a member.

    Halfway between two scores; infinite where it is best to call none a member.
    """
    check_measurable(member, score)
    member = np.asarray(member)
    false_positive_rate, true_positive_rate, thresholds = roc_curve(member, score, drop_intermediate=False)
    right = true_positive_rate * (member == 1).sum() - false_positive_rate * (member == 0).sum()
    best = int(np.argmax(right))
    if best == 0 or best + 1 == len(thresholds):
        return float(thresholds[best])
    halfway = (thresholds[best] + thresholds[best + 1]) / 2
    return float(halfway if halfway > thresholds[best + 1] else thresholds[best])  # no number lies between neighbours


def auc_interval(table: pd.DataFrame, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of `pooled_auc`, concepts drawn with replacement; errors as for `resampled_aucs`.

    With few concepts it is too narrow: in simulations it held the AUC of very many concepts in 93 % of tables with 40
    concepts, 91 to 93 % with 20, 72 to 89 % with 8 and 46 to 69 % with 3; lowest where concepts differ much in ease.
    """
    low, high = np.percentile(resampled_aucs(table, resamples, seed), [2.5, 97.5])
    return float(low), float(high)


def resampled_aucs(table: pd.DataFrame, resamples: int, seed: int) -> np.ndarray:
    """`pooled_auc` of `resamples` tables made of concepts drawn with replacement.

    Tables of the same concepts are given the same draws under the same seed. The AUC is a sum over pairs of concepts of
    the wins of one's members over the other's holdouts, so a resample only weights that matrix. ValueError if a
    concept has members only or holdouts only: a draw could then have no AUC.
    """
    check_measurable(table["member"], table["score"])
    named = [(name, _roles(group)) for name, group in table.groupby("concept")]
    if lacking := [name for name, roles in named if not all(map(len, roles))]:
        raise ValueError(f"Concept {lacking[0]} has members only or holdouts only, so concepts cannot be resampled.")
    members, holdouts = zip(*(roles for _, roles in named), strict=True)
    wins = np.array([[_wins(m, h) for h in holdouts] for m in members])
    n = len(named)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    pairs = (weights @ [len(m) for m in members]) * (weights @ [len(h) for h in holdouts])
    return ((weights @ wins) * weights).sum(1) / pairs


def check_measurable(member: ArrayLike, score: ArrayLike) -> None:
    """ValueError unless there are members (1) and holdouts (0) and every score is a finite number."""
    member, score = np.asarray(member), np.asarray(score, dtype=float)
    if not np.isin(member, (0, 1)).all():
        raise ValueError("A decision's `member` is neither 1 nor 0.")
    if broken := int((~np.isfinite(score)).sum()):
        raise ValueError(f"{broken} of {len(score)} scores are NaN or infinite, and no statistic can order those.")
    if len(np.unique(member)) < 2:
        found = "no decisions" if not len(member) else "members only" if member[0] else "holdouts only"
        raise ValueError(f"The table holds {found}: telling members from holdouts needs both.")


def _roles(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The scores of members and of holdouts."""
    member, score = table["member"].to_numpy(), table["score"].to_numpy(dtype=float)
    return score[member == 1], score[member == 0]


def _wins(members: np.ndarray, holdouts: np.ndarray) -> float:
    """Pairs in which the member scores higher; a tie counts half."""
    column = members[:, None]
    return np.count_nonzero(column > holdouts) + np.count_nonzero(column == holdouts) / 2


def _right(fitted_on: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Which decisions of `table` the best threshold of `fitted_on` gets right."""
    threshold = best_threshold(fitted_on["member"], fitted_on["score"])
    return ((table["score"] >= threshold) == (table["member"] == 1)).to_numpy()
