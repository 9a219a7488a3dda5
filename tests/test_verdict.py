"""The statistics of a verdict."""

import numpy as np
import pytest

from cgidm import UserError
from cgidm.verdict import conformal_p_value, judge, portfolio_p_value

CONTROLS = [i / 40 for i in range(40)]


def test_p_value_counts_controls_at_or_above():
    assert conformal_p_value(2.0, CONTROLS) == 1 / 41
    assert conformal_p_value(-1.0, CONTROLS) == 1
    assert conformal_p_value(CONTROLS[-1], CONTROLS) == 2 / 41  # a tie counts against the picture
    with pytest.raises(UserError, match="control"):
        conformal_p_value(1.0, [])


def test_error_rate_holds_under_exchangeability():
    rng = np.random.default_rng(0)
    wrong = sum(
        judge(9 + rng.normal(), (9 + rng.normal(size=39)).tolist(), []).outcome.startswith("consistent")
        for _ in range(4000)
    )
    assert 0.035 < wrong / 4000 < 0.065


def test_three_outcomes():
    assert judge(2.0, CONTROLS, []).outcome == "consistent with training on this image"
    assert judge(0.5, CONTROLS, []).outcome == "no evidence"
    for verdict in (judge(2.0, CONTROLS[:10], []), judge(2.0, CONTROLS, ["a flag"]), judge(float("nan"), CONTROLS, [])):
        assert verdict.outcome == "cannot tell" and verdict.p_value is None and verdict.reason


def test_a_suspect_that_knows_it_no_better_than_its_base_is_no_evidence():
    controls = [c - 2 for c in CONTROLS]
    verdict = judge(-0.5, controls, [])
    assert verdict.outcome == "no evidence" and verdict.p_value == 1 / 41 and "base" in verdict.reason
    assert judge(0.5, controls, []).outcome == "consistent with training on this image"


def test_portfolio_is_stronger_than_its_pictures_and_holds_its_rate():
    rng = np.random.default_rng(1)
    assert portfolio_p_value(rng.normal(1.0, 1, 10).tolist(), rng.normal(0, 1, 30).tolist()) < 0.05
    null = [portfolio_p_value(rng.normal(size=8).tolist(), rng.normal(size=20).tolist(), seed) for seed in range(60)]
    assert sum(p <= 0.05 for p in null) <= 8
    with pytest.raises(UserError, match="at least 2"):
        portfolio_p_value([1.0], CONTROLS)
