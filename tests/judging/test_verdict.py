"""The statistics of a verdict."""

import numpy as np

from cgidm.judging.flags import NOT_FINITE
from cgidm.judging.verdict import conformal_p_value, is_positive, judge
from cgidm.messages import note
from tests.support.errors import refuses

CONTROLS = [i / 40 for i in range(40)]
MANY = [i / 120 for i in range(120)]
GOOD = 0.9  # power


def test_p_value_counts_controls_at_or_above():
    assert conformal_p_value(2.0, CONTROLS) == 1 / 41
    assert conformal_p_value(-1.0, CONTROLS) == 1
    assert conformal_p_value(CONTROLS[-1], CONTROLS) == 2 / 41  # a tie counts against the picture
    with refuses("judging.no_controls"):
        conformal_p_value(1.0, [])


def test_error_rate_holds_under_exchangeability():
    rng = np.random.default_rng(0)
    said = [judge(9 + rng.normal(), (9 + rng.normal(size=199)).tolist(), []).outcome for _ in range(4000)]
    assert 0.035 < np.mean([is_positive(outcome) for outcome in said]) < 0.065
    assert 0.005 < np.mean([outcome.startswith("consistent") for outcome in said]) < 0.015


def test_four_outcomes():
    assert judge(2.0, MANY, []).outcome == "consistent with training on this image"
    assert judge(2.0, CONTROLS, []).outcome == "weak evidence"
    assert judge(0.5, CONTROLS, [], power=GOOD).outcome == "no evidence"
    for verdict in (
        judge(2.0, CONTROLS[:10], []),
        judge(2.0, CONTROLS, [NOT_FINITE.note]),
        judge(float("nan"), CONTROLS, []),
    ):
        assert verdict.outcome == "cannot tell" and verdict.p_value is None
    assert judge(2.0, CONTROLS, [NOT_FINITE.note]).reason == NOT_FINITE.note
    few = judge(2.0, CONTROLS[:10], []).reason
    assert few == note("judging.few_controls", n=10, need=19, level=0.05)
    assert str(few) == "10 control pictures cannot show an error rate of 5%. Give at least 19."
    assert judge(None, CONTROLS, []).reason.code == "judging.no_score"
    assert judge(2.0, MANY, []).reason == note("judging.above_controls", n=120, higher=0, p=1 / 121)
    assert judge(0.5, CONTROLS, [], power=GOOD).reason == note("judging.as_high", n=40, higher=20, p=21 / 41)


def test_between_the_levels_the_evidence_is_weak():
    """Up to p = 0.01 it is consistent, up to 0.05 weak; with fewer than 99 controls it cannot be more."""
    ninety_nine = [i / 99 for i in range(99)]
    assert judge(2.0, ninety_nine, []).outcome == "consistent with training on this image"
    assert judge(ninety_nine[-2], ninety_nine, []).outcome == "weak evidence"
    few = judge(2.0, ninety_nine[1:], [])
    assert few.outcome == "weak evidence"
    assert few.reason == note("judging.above_few_controls", n=98, higher=0, p=1 / 99, least=1 / 99, need=99)
    assert [is_positive(judge(score, MANY, []).outcome) for score in (2.0, 0.98, 0.9)] == [True, True, False]


def test_silence_is_no_evidence_only_where_its_power_was_measured():
    verdict = judge(0.5, CONTROLS, [])
    assert verdict.outcome == "cannot tell" and verdict.reason.code == "judging.unknown_power"
    assert verdict.p_value == 21 / 41


def test_a_suspect_that_knows_it_no_better_than_its_base_is_no_evidence():
    controls = [c - 2 for c in CONTROLS]
    verdict = judge(-0.5, controls, [], power=GOOD)
    assert verdict.outcome == "no evidence" and verdict.reason == note("judging.no_better_than_base", n=40, p=1 / 41)
    assert is_positive(judge(0.5, controls, []).outcome)


def test_silence_means_nothing_where_little_can_be_found():
    weak = judge(0.5, CONTROLS, [], power=0.2)
    assert weak.outcome == "cannot tell" and weak.p_value == 21 / 41
    assert weak.reason == note("judging.weak_suspect", power=0.2, level=0.05, p=21 / 41)
    assert "perhaps only 20% are found" in str(weak.reason)
    assert judge(0.5, CONTROLS, [], power=0.9).outcome == "no evidence"
    assert is_positive(judge(2.0, CONTROLS, [], power=0.2).outcome)


def test_no_silence_of_a_weak_suspect_means_anything():
    """Neither that of a picture below its controls, nor that of one above controls that are all below zero."""
    low = [-1 - 0.01 * i for i in range(40)]
    for score, controls in ((-0.5, low), (0.1, [0.2] * 40)):
        assert judge(score, controls, [], power=0.4).outcome == "cannot tell"
        assert judge(score, controls, [], power=0.6).outcome == "no evidence"
    assert is_positive(judge(0.5, low, [], power=0.1).outcome)
