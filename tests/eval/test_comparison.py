"""A beats B: on differences that were planted, on none, and against the definitions written out."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, kstest, norm
from sklearn.metrics import roc_auc_score

from eval.analysis.comparison import compare, delong
from tests.support.score_tables import crossed_with_ease, score_sets


def methods(rng, concepts=20, traces=(1.0, 1.0)):
    """Two methods on one crossed design: shared ease, their own noise by concept and decision, and a mean trace."""
    concept, half, picture = (x.ravel() for x in np.indices((concepts, 2, 4)))
    member = (picture + half) % 2
    ease = (rng.normal(size=concepts)[:, None, None] + rng.normal(size=(concepts, 1, 4))).repeat(2, 1).ravel()
    frame = {"concept": concept, "suspect": 2 * concept + half, "picture": picture, "member": member}
    for trace in traces:
        own = trace + 0.5 * rng.normal(size=concepts)[concept]
        yield pd.DataFrame(frame | {"score": ease + own * member + 0.5 * rng.normal(size=len(member))})


def as_decisions(table, score):
    """A bare score set as a table that can be compared."""
    return table.assign(concept="only", suspect="only", picture=range(len(table)), score=score)


def wins(table):
    """1, a half or 0 for each member (row) and holdout (column)."""
    members, holdouts = (table.loc[table["member"] == role, "score"].to_numpy() for role in (1, 0))
    return np.where(members[:, None] > holdouts, 1.0, np.where(members[:, None] == holdouts, 0.5, 0.0))


def variance(comparison):
    low, high = comparison.interval
    return ((high - low) / 2 / norm.ppf(0.975)) ** 2


@pytest.mark.slow
def test_delong_is_the_structural_components_written_out():
    rng, compared = np.random.default_rng(0), 0
    for table in score_sets(300, seed=1):
        a = as_decisions(table, table["score"])
        b = as_decisions(table, np.round(table["score"] * rng.choice([0, 1, -1]) + rng.normal(size=len(table)), 1))
        if table["member"].value_counts().min() < 2:
            with pytest.raises(ValueError, match="two members and two holdouts"):
                delong(a, b)
            continue
        ahead = wins(a) - wins(b)
        by_hand = sum(ahead.mean(axis).var(ddof=1) / ahead.shape[1 - axis] for axis in (0, 1))
        if by_hand < 1e-15 and ahead.any():
            continue
        compared += 1
        found = delong(a, b)
        assert found.difference == pytest.approx(ahead.mean(), abs=1e-12)
        assert variance(found) == pytest.approx(by_hand, abs=1e-12)
        assert found.p_value == pytest.approx(2 * norm.sf(abs(ahead.mean()) / np.sqrt(by_hand)) if by_hand else 1.0)
    assert compared > 200


def test_delong_is_about_a_bootstrap_of_decisions():
    a, b = methods(np.random.default_rng(1), concepts=15, traces=(1.5, 0.5))
    ahead = wins(a) - wins(b)
    drawn = bootstrap(
        tuple(map(np.arange, ahead.shape)),
        lambda m, h: ahead[np.ix_(m, h)].mean(),
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    assert np.sqrt(variance(delong(a, b))) == pytest.approx(drawn.standard_error, rel=0.1)
    assert delong(a, b).interval == pytest.approx(tuple(drawn.confidence_interval), abs=0.02)


def test_delong_says_where_it_has_no_p_value():
    table = pd.DataFrame({"member": [1, 1, 0, 0]})
    right, tied = as_decisions(table, [1.0, 1.0, 0.0, 0.0]), as_decisions(table, 0.0)
    assert delong(right, right).p_value == 1.0
    with pytest.raises(ValueError, match="variance is zero"):
        delong(right, tied)


def test_the_interval_is_that_of_concepts_drawn_for_both():
    a, b = methods(np.random.default_rng(2), concepts=8, traces=(1.5, 1.0))
    found, rng, by_hand = compare(a, b), np.random.default_rng(0), []
    ahead, of_role = wins(a) - wins(b), [a.loc[a["member"] == role, "concept"].to_numpy() for role in (1, 0)]
    for _ in range(4000):
        drawn = rng.integers(8, size=8)
        rows, columns = (np.concatenate([np.flatnonzero(concept == c) for c in drawn]) for concept in of_role)
        by_hand.append(ahead[np.ix_(rows, columns)].mean())
    assert found.interval == pytest.approx(np.percentile(by_hand, [2.5, 97.5]), abs=0.01)
    assert found.p_value == pytest.approx(2 * min(np.mean(np.less_equal(by_hand, 0)), 0.5), abs=0.03)
    scikit = [roc_auc_score(t["member"], t["score"]) for t in (a, b)]
    assert found.difference == pytest.approx(scikit[0] - scikit[1])


def test_a_planted_difference_is_found():
    a, b = methods(np.random.default_rng(3), traces=(2.0, 0.5))
    found, back, classical = compare(a, b), compare(b, a), delong(a, b)
    assert found.difference > 0.1 and found.interval[0] > 0
    assert found.p_value == 2 / 10_001 >= 1 / 10_001
    assert back.difference == -found.difference and back.p_value == found.p_value
    assert back.interval == pytest.approx([-v for v in found.interval[::-1]])
    assert classical.difference == pytest.approx(found.difference) and classical.p_value < 0.001
    assert found == compare(a, b) != compare(a, b, seed=1)


def test_methods_that_order_alike_do_not_differ():
    a = crossed_with_ease(np.random.default_rng(4))
    alike = a.assign(score=np.exp(a["score"] / 4)).sample(frac=1, random_state=0)  # the order of rows does not matter
    for found in (compare(a, alike), delong(a, alike)):
        assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


@pytest.mark.slow
def test_equal_methods_give_about_uniform_p_values():
    rng = np.random.default_rng(5)
    p_values = np.array([compare(*methods(rng, concepts=16), resamples=400).p_value for _ in range(150)])
    assert kstest(p_values, "uniform").pvalue > 0.001
    assert (p_values < 0.05).mean() < 0.12 and p_values.min() >= 1 / 401


def test_tables_that_do_not_match_are_refused():
    a, b = methods(np.random.default_rng(6), concepts=3)
    broken = {
        r"1 decisions are in one table only, such as 0, 0, 0, 0": b.iloc[1:],
        "in one table only": b.assign(suspect=b["suspect"] + 1),
        "in one table only, such as": b.assign(member=1 - b["member"]),
        "stands twice: 0, 0, 0, 0": pd.concat([b, b.iloc[:1]]),
        "NaN or infinite": b.assign(score=np.nan),
        "holdouts only": b.query("member == 0"),
    }
    for sentence, bad in broken.items():
        for method in (compare, delong):
            for pair in ((a, bad), (bad, a)):
                with pytest.raises(ValueError, match=sentence):
                    method(*pair)
    one = a.query("concept == 0")
    with pytest.raises(ValueError, match="two concepts"):
        compare(one, one)
