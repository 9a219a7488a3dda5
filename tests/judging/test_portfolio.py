"""How many of a set were used: the bounds cover, the corrections hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgidm.judging.portfolio import Used, benjamini_hochberg, count_used, holm, judge_set, portfolio_p_value
from cgidm.judging.verdict import conformal_p_value, is_positive
from tests.support.errors import refuses

RNG = np.random.default_rng(0)
NULLS = RNG.normal(-0.01, 0.01, 40).tolist()


def portfolio(rng, used, of=10):
    return [*rng.normal(0.04, 0.015, used), *rng.normal(-0.01, 0.01, of - used)]


def test_portfolio_is_stronger_than_its_pictures_and_holds_its_rate():
    rng = np.random.default_rng(1)
    assert portfolio_p_value(rng.normal(1.0, 1, 10).tolist(), rng.normal(0, 1, 30).tolist()) < 0.05
    null = [portfolio_p_value(rng.normal(size=8).tolist(), rng.normal(size=20).tolist(), seed) for seed in range(60)]
    assert sum(p <= 0.05 for p in null) <= 8
    with refuses("judging.set.too_small", pictures=1, controls=40):
        portfolio_p_value([1.0], NULLS)


def test_the_p_value_of_a_small_set_is_the_exact_one():
    # 3 of 6 numbers can be chosen in 20 ways; the observed one is the highest
    assert portfolio_p_value([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]) == pytest.approx(1 / 20, abs=0.01)
    assert portfolio_p_value([1.0, 1.0], [1.0, 1.0, 1.0]) == 1  # all ties


@pytest.mark.parametrize("used", [0, 2, 5, 8, 10])
def test_the_bounds_cover_the_number_that_was_used(used):
    rng = np.random.default_rng(used)
    found = [count_used(portfolio(rng, used), portfolio(rng, 0, 20), portfolio(rng, 20, 20)) for _ in range(40)]
    assert sum(u.low <= used <= u.high for u in found) >= 34  # 38 are meant
    assert np.mean([u.high - u.low for u in found]) <= 5  # and are not everything from 0 to 10


def test_without_known_members_there_is_no_upper_bound():
    assert count_used(portfolio(np.random.default_rng(0), 5), NULLS) == Used(4, 10, False)
    assert judge_set(portfolio(np.random.default_rng(0), 5), NULLS, []).used == Used(4, 10, False)


def test_what_the_suspect_knows_no_better_than_its_base_does_not_count():
    scores, nulls = np.linspace(-0.02, -0.01, 10).tolist(), np.linspace(-0.9, -0.8, 40).tolist()
    assert portfolio_p_value(scores, nulls) <= 0.001 and count_used(scores, nulls).low == 0


def test_no_silence_of_a_weak_suspect_is_evidence():
    """Neither that of a set like the controls nor that of one above them which the suspect knows no better."""
    low = [c - 1 for c in NULLS]
    for scores, controls in ((NULLS[:10], NULLS), ([-0.1] * 10, low)):
        verdict = judge_set(scores, controls, [], power=0.4)
        assert verdict.outcome == "cannot tell" and verdict.reason.code == "judging.weak_suspect" and verdict.p_value
        assert judge_set(scores, controls, [], power=0.6).outcome == "no evidence"
        assert judge_set(scores, controls, []).reason.code == "judging.unknown_power"
    assert is_positive(judge_set([0.1] * 10, NULLS, [], power=0.1).outcome)


def test_bounds_agree_with_the_set_s_own_verdict():
    rng = np.random.default_rng(3)
    for used in (0, 0, 0, 1, 1, 2, 3):
        verdict = judge_set(portfolio(rng, used), NULLS, [])
        assert verdict.used is not None and (verdict.p_value <= 0.05) == (verdict.used.low >= 1)
        assert is_positive(verdict.outcome) == (verdict.used.low >= 1)
        assert verdict.outcome.startswith("consistent") == (verdict.p_value <= 0.01 and verdict.used.low >= 1)


def test_a_suspect_that_has_lost_more_on_the_others_than_it_knows_of_some_is_no_contradiction():
    """As strongly trained ones do: the mean of such a set lies below zero, and half of it was used."""
    nulls, half = np.linspace(-1.5, -0.5, 40).tolist(), [0.3] * 5 + [-1.0] * 5
    verdict = judge_set(half, nulls, [], members=[0.2] * 20)
    assert np.mean(half) < 0 and verdict.outcome.startswith("consistent")
    assert verdict.used is not None and 3 <= verdict.used.low <= 5 <= verdict.used.high
    assert (
        judge_set([-0.4] * 10, nulls, [], power=0.9).outcome == "no evidence"
    )  # above all of them, and nothing was learnt


def test_holm_as_in_his_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([None, 0.5, 0.7]) == (None, 1.0, 1.0)
    assert holm([]) == ()


def test_benjamini_and_hochberg_s_adjusted_p_values_by_hand():
    assert benjamini_hochberg([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx((0.02, None, 0.04, 0.04, 0.02))
    assert benjamini_hochberg([None]) == (None,) and benjamini_hochberg([]) == ()


def test_a_twentieth_of_what_is_named_is_wrong_though_the_references_are_shared():
    """Half of twenty pictures were used; the others are like the references."""
    rng, shares = np.random.default_rng(7), []
    for _ in range(400):
        references = rng.normal(size=199)
        scores = np.concatenate([rng.normal(size=10), rng.normal(3.5, 1, 10)])
        p_values = [conformal_p_value(s, references.tolist()) for s in scores]
        named = [i for i, p in enumerate(benjamini_hochberg(p_values)) if p is not None and p <= 0.1]
        shares.append(sum(i < 10 for i in named) / max(1, len(named)))
    assert 0.02 < np.mean(shares) <= 0.055  # the level times the share of unused pictures


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert all(a is not None and p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(adjusted)[order]) == sorted(a for a in adjusted if a is not None)


def test_holm_holds_the_rate_of_any_wrong_call():
    rng = np.random.default_rng(5)
    wrong = sum(min(a for a in holm(rng.uniform(size=10).tolist()) if a is not None) <= 0.05 for _ in range(2000))
    assert 0.03 < wrong / 2000 < 0.065
