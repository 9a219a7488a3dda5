"""The statistics, against libraries, against definitions written out, and on scores whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from eval.metrics import (
    accuracy,
    auc_interval,
    auc_per_suspect,
    best_threshold,
    paired_win_rate,
    pooled_auc,
)


def crossed(rng, concepts=6, pictures=16, shift=1.0, difficulty=3.0):
    """Scores = the picture's difficulty + noise, and `shift` where it is a member; each picture in both roles."""
    rows = []
    for c in range(concepts):
        for p in range(pictures):
            ease = rng.normal() * difficulty
            for half in "ab":
                member = int((p % 2 == 0) == (half == "a"))
                score = ease + rng.normal() * 0.3 + shift * member
                rows.append((f"c{c}", f"c{c}-{half}", f"{p:02d}.jpg", member, score))
    return pd.DataFrame(rows, columns=["concept", "suspect", "picture", "member", "score"])


def test_auc_is_the_probability_of_the_right_order_ties_half():
    rng = np.random.default_rng(0)
    for _ in range(200):
        member = np.repeat([1, 0], rng.integers(1, 20, size=2))
        score = rng.integers(0, 6, size=len(member)).astype(float)
        expected = mannwhitneyu(score[member == 1], score[member == 0]).statistic / np.prod(np.bincount(member))
        assert pooled_auc(pd.DataFrame({"member": member, "score": score})) == pytest.approx(expected)


def test_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(300):
        member, score = rng.integers(0, 2, 12), rng.integers(0, 5, 12).astype(float)
        if member.min() == member.max():
            continue
        candidates = [-np.inf, *(np.unique(score) + 0.5), *np.unique(score), np.inf]
        best = max(((score >= c) == member).mean() for c in candidates)
        assert ((score >= best_threshold(member, score)) == member).mean() == pytest.approx(best)


def test_the_crossed_design_sees_through_difficulty():
    table = crossed(np.random.default_rng(2))
    assert paired_win_rate(table) > 0.95 and pooled_auc(table) < 0.7
    innocent = crossed(np.random.default_rng(3), shift=0.0)
    assert 0.4 < paired_win_rate(innocent) < 0.6
    ties = table.assign(score=1.0)
    assert paired_win_rate(ties) == pooled_auc(ties) == auc_per_suspect(ties) == 0.5


def test_a_threshold_fitted_on_the_reported_scores_flatters():
    noise = [crossed(np.random.default_rng(s), shift=0.0, difficulty=1.0) for s in range(10)]
    assert all(accuracy(t, "in_sample") >= 0.5 for t in noise)
    assert np.mean([accuracy(t, "in_sample") for t in noise]) > np.mean([accuracy(t, "other_concepts") for t in noise])
    clear = crossed(np.random.default_rng(0), shift=100.0)
    assert accuracy(clear, "in_sample") == accuracy(clear, "other_concepts") == 1.0


def test_the_interval_is_that_of_resampled_concepts():
    table = crossed(np.random.default_rng(5), shift=2.0)
    low, high = auc_interval(table)
    assert low < pooled_auc(table) < high and (low, high) == auc_interval(table)
    groups, rng = [group for _, group in table.groupby("concept")], np.random.default_rng(0)
    by_hand = [pooled_auc(pd.concat([groups[i] for i in rng.integers(6, size=6)])) for _ in range(1500)]
    assert (low, high) == pytest.approx(np.percentile(by_hand, [2.5, 97.5]), abs=0.01)
