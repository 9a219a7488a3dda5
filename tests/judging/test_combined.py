"""The mirror test and a bank's residuals, one answer: what it is where they agree, and where they do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from cgidm.judging.verdict import CORRELATION, LEVEL, Witness, combine, judge
from cgidm.messages import note

NULLS = [i / 100 for i in range(99)]  # p = (1 + those at least as high) / 100
SHARES = st.floats(1e-4, 1.0)


def mirror(p):
    return Witness(name="mirror", p_value=p, references=999)


def verdict(p_mirror, p_bank, **settings):
    score = 0.995 - p_bank  # so many null residuals are at least as high
    return judge(score, NULLS, [], **{"mirror": mirror(p_mirror), "combined": True, "power": 0.9} | settings)


@given(SHARES, SHARES, SHARES)
def test_a_smaller_p_value_of_either_never_gives_a_larger_one(first, second, third):
    low, high = sorted((first, second))
    assert combine(low, third) <= combine(high, third) and combine(third, low) <= combine(third, high)
    assert combine(first, second) == pytest.approx(combine(second, first)) and 0 <= combine(first, second) <= 1


def test_two_that_find_nothing_find_nothing_together():
    assert combine(0.5, 0.5) == pytest.approx(0.5) and combine(0.5, 0.04) > LEVEL
    assert combine(0.1, 0.1) < 0.1 and combine(0.001, 0.05) < 0.001 + 0.05


@pytest.mark.parametrize("correlation", [0.0, CORRELATION])
def test_the_level_holds_up_to_the_allowed_correlation(correlation):
    rng = np.random.default_rng(0)
    z = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=20_000)
    p = np.array([combine(a, b) for a, b in norm.sf(z)])
    for level in (0.05, 0.01):
        assert (p <= level).mean() <= level + 3 * (level / len(p)) ** 0.5
    if correlation == CORRELATION:
        assert (p <= 0.05).mean() > 0.045


def test_a_p_value_of_1_is_no_veto_and_no_help():
    assert combine(1.0, 0.5) > 0.9 and LEVEL < combine(1.0, 1e-3) < 1
    assert combine(1.0, 1e-6) < combine(1.0, 1e-3)


def test_a_bank_says_nothing_for_a_picture_that_the_suspect_knows_no_better_than_its_base():
    nulls = [-1.0] * 95 + [0.5] * 4  # of them 4 are above a score of 0
    below = judge(-0.2, nulls, [], mirror=mirror(0.06), combined=True, power=0.9)
    assert below.p_value is not None and below.p_value <= LEVEL
    assert below.outcome == "no evidence" and below.reason.code == "judging.no_better_than_base"
    above = judge(0.2, nulls, [], mirror=mirror(0.06), combined=True, power=0.9)
    assert above.outcome.startswith(("consistent", "weak")) and above.p_value == below.p_value
    by_mirror = judge(-0.2, nulls, [], mirror=mirror(0.02), combined=True, power=0.9)
    assert by_mirror.outcome.startswith(("consistent", "weak"))


def test_both_decide_together():
    both = verdict(0.02, 0.02)
    assert both.outcome.startswith("consistent") and both.reason.code == "judging.both.know"
    assert both.p_value == pytest.approx(combine(0.02, 0.02))
    assert {w.name: w.p_value for w in both.witnesses} == {"mirror": 0.02, "controls": 0.02}
    weak = verdict(0.08, 0.08)
    assert weak.outcome == "weak evidence" and weak.p_value is not None and 0.01 < weak.p_value <= LEVEL


@pytest.mark.parametrize("p_mirror, p_bank", [(0.04, 0.9), (0.9, 0.02)])
def test_one_alone_is_no_answer(p_mirror, p_bank):
    found = verdict(p_mirror, p_bank)
    alone_finds = "mirror" if p_mirror < p_bank else "bank"
    assert found.outcome == "cannot tell" and found.reason.code == f"judging.both.{alone_finds}_alone"
    alone = verdict(p_mirror, p_bank, combined=False)
    assert (alone.outcome == "weak evidence") == (p_mirror == 0.04)


def test_silence_of_both_is_worth_what_the_bank_would_find():
    assert verdict(0.5, 0.5).outcome == "no evidence" and verdict(0.5, 0.5).reason.code == "judging.both.neither"
    assert verdict(0.5, 0.5, power=0.3).outcome == verdict(0.5, 0.5, power=None).outcome == "cannot tell"


def test_where_one_of_them_is_silent_the_other_decides():
    no_mirror = Witness(name="mirror", p_value=None, references=0, silent=note("judging.mirror.flips"))
    by_bank = verdict(0.5, 0.02, mirror=no_mirror)
    assert by_bank.outcome == "weak evidence" and by_bank.p_value == pytest.approx(0.02)
    distrusted = verdict(0.004, 0.9, distrusted=[note("judging.no_score")])
    assert distrusted.outcome.startswith("consistent") and distrusted.p_value == 0.004
    few = judge(1.0, NULLS[:5], [], mirror=mirror(0.004), combined=True)
    assert few.outcome.startswith("consistent") and few.p_value == 0.004
