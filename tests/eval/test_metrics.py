"""The statistics, against libraries, against definitions written out, and on scores whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score, roc_curve

from eval.analysis.metrics import (
    accuracy,
    auc_interval,
    auc_per_suspect,
    best_threshold,
    paired_win_rate,
    pooled_auc,
    resampled_aucs,
    tpr_at_fpr,
)
from tests.support.score_tables import crossed_with_ease, score_sets


@pytest.mark.slow
def test_a_thousand_score_sets_agree_with_scikit_learn_and_scipy():
    refused, rates = 0, (0.05, 0.1, 0.29, 0.5, 0.9)
    for i, table in enumerate(score_sets(1000, seed=0)):
        member, score = table["member"].to_numpy(), table["score"].to_numpy()
        holdouts = int((member == 0).sum())
        wins = mannwhitneyu(score[member == 1], score[member == 0], method="asymptotic").statistic
        assert pooled_auc(table) == pytest.approx(wins / (holdouts * member.sum()))
        assert resampled_aucs(table.assign(concept="only"), 1, 0)[0] == pytest.approx(roc_auc_score(member, score))
        false, true, _ = roc_curve(member, score, drop_intermediate=False)
        for fpr in (0.01, rates[i % 5]):
            if holdouts < 10 / fpr:
                refused += 1
                assert tpr_at_fpr(table, fpr) is None
            else:
                assert tpr_at_fpr(table, fpr) == pytest.approx(true[false <= fpr].max())
    assert 1000 < refused < 1900  # of 2,000


def test_ten_holdouts_have_no_rate_at_one_percent():
    table = pd.DataFrame({"member": [1] * 50 + [0] * 10, "score": np.arange(60.0)[::-1]})
    assert tpr_at_fpr(table, 0.01) is None and tpr_at_fpr(table, 0.05) is None
    for fpr, needed in ((0.01, 1000), (0.05, 200), (0.07, 143), (0.1, 100)):
        score = np.arange(needed + 3.0)
        enough = pd.DataFrame({"member": [0] * needed + [1] * 3, "score": score})
        assert tpr_at_fpr(enough, fpr) == 1.0 and tpr_at_fpr(enough.iloc[1:], fpr) is None
    for fpr in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            tpr_at_fpr(table, fpr)


def test_tied_scores_are_called_together():
    holdouts = [9.0] + [5.0] * 9 + [1.0] * 190
    table = pd.DataFrame({"member": [1] * 4 + [0] * 200, "score": [9.0, 6.0, 5.0, 2.0, *holdouts]})
    assert tpr_at_fpr(table, 0.05) == 1.0  # ten false positives are 5 % of 200: down to just above 1
    one_more = table.assign(score=table["score"].replace(2.0, 1.0))
    assert tpr_at_fpr(one_more, 0.05) == 0.75
    at_five = pd.concat([one_more, pd.DataFrame({"member": [0], "score": [5.0]})])
    assert tpr_at_fpr(at_five, 0.05) == 0.5  # eleven of 201 are more than 5 %, so all the fives go


def test_tables_that_cannot_be_measured_are_refused_in_a_sentence():
    table = crossed_with_ease(np.random.default_rng(0), concepts=2, pictures=4)
    measures = (
        pooled_auc,
        auc_per_suspect,
        paired_win_rate,
        auc_interval,
        lambda t: accuracy(t, "in_sample"),
        lambda t: accuracy(t, "per_concept"),
        lambda t: accuracy(t, "other_concepts"),
        lambda t: tpr_at_fpr(t, 0.05),
    )
    broken = {
        "members only": table.query("member == 1"),
        "holdouts only": table.query("member == 0"),
        "NaN or infinite": table.assign(score=[np.nan, *table["score"][1:]]),
        "1 of (16|4) scores are NaN or infinite": table.assign(score=[np.inf, *table["score"][1:]]),
        "neither 1 nor 0": table.assign(member=2),
    }
    for sentence, bad in broken.items():
        for measure in measures:
            with pytest.raises(ValueError, match=sentence):
                measure(bad)
    with pytest.raises(ValueError, match="no decisions"):
        pooled_auc(table.iloc[:0])
    with pytest.raises(ValueError, match="two concepts"):
        accuracy(table.query("concept == 'c0'"), "other_concepts")
    with pytest.raises(ValueError, match="1 of 8 pictures"):
        paired_win_rate(table.iloc[1:])
    with pytest.raises(ValueError, match="Concept c1 has members only"):
        auc_interval(table.query("concept == 'c0' or member == 1"))


def test_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(300):
        member, score = rng.integers(0, 2, 12), rng.integers(0, 5, 12).astype(float)
        if member.min() == member.max():
            continue
        candidates = [-np.inf, *(np.unique(score) + 0.5), *np.unique(score), np.inf]
        best = max(((score >= c) == member).mean() for c in candidates)
        assert ((score >= best_threshold(member, score)) == member).mean() == pytest.approx(best)
    low, high = 1 - 2**-53, 1.0  # neighbours, with no number halfway
    assert low < best_threshold([0, 1], [low, high]) <= high


def test_the_crossed_design_sees_through_difficulty():
    table = crossed_with_ease(np.random.default_rng(2))
    assert paired_win_rate(table) > 0.95 and pooled_auc(table) < 0.7
    innocent = crossed_with_ease(np.random.default_rng(3), shift=0.0)
    assert 0.4 < paired_win_rate(innocent) < 0.6
    ties = table.assign(score=1.0)
    assert paired_win_rate(ties) == pooled_auc(ties) == auc_per_suspect(ties) == 0.5


def test_a_threshold_fitted_on_the_reported_scores_flatters():
    noise = [crossed_with_ease(np.random.default_rng(s), shift=0.0, difficulty=1.0) for s in range(10)]
    assert all(accuracy(t, "in_sample") >= 0.5 for t in noise)
    assert np.mean([accuracy(t, "in_sample") for t in noise]) > np.mean([accuracy(t, "other_concepts") for t in noise])
    assert all(accuracy(t, "per_concept") >= accuracy(t, "in_sample") for t in noise)
    clear = crossed_with_ease(np.random.default_rng(0), shift=100.0)
    assert accuracy(clear, "in_sample") == accuracy(clear, "other_concepts") == accuracy(clear, "per_concept") == 1.0


def test_a_threshold_for_each_concept_is_the_best_of_each():
    table = crossed_with_ease(np.random.default_rng(1), shift=100.0, difficulty=0.0)
    apart = table.assign(score=table["score"] + table["concept"].str[1:].astype(int) * 1000)
    assert accuracy(apart, "per_concept") == 1.0 and accuracy(apart, "in_sample") < 0.6
    table = crossed_with_ease(np.random.default_rng(2))
    assert accuracy(table, "per_concept") == pytest.approx(
        np.mean([accuracy(group, "in_sample") for _, group in table.groupby("concept")])
    )


@pytest.mark.slow
def test_the_interval_is_that_of_resampled_concepts():
    table = crossed_with_ease(np.random.default_rng(5), shift=2.0)
    low, high = auc_interval(table)
    assert low < pooled_auc(table) < high and (low, high) == auc_interval(table)
    groups, rng = [group for _, group in table.groupby("concept")], np.random.default_rng(0)
    by_hand = [pooled_auc(pd.concat([groups[i] for i in rng.integers(6, size=6)])) for _ in range(1000)]
    assert (low, high) == pytest.approx(np.percentile(by_hand, [2.5, 97.5]), abs=0.01)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Truth: the AUC of very many concepts. Each table has twenty, which differ in ease and in what training leaves."""
    rng = np.random.default_rng(6)

    def draw(concepts):
        number, half, picture = (x.ravel() for x in np.indices((concepts, 2, 4)))
        member = (picture + half) % 2
        ease, trace = rng.normal(size=concepts), 1 + 0.5 * rng.normal(size=concepts)
        score = ease[number] + trace[number] * member + rng.normal(size=len(member))
        return pd.DataFrame({"concept": number, "member": member, "score": score})

    truth = pooled_auc(draw(20_000))
    held = [low <= truth <= high for low, high in (auc_interval(draw(20), 400) for _ in range(250))]
    assert 0.86 < np.mean(held) < 0.99
