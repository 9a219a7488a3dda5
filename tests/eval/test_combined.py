"""The mirror test and a bank together, by counting."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from cgidm.judging.verdict import CORRELATION
from eval.error_rates.banks.combined import Pair, correlation
from tests.support.paths import ROOT


def pairs(shared, artists=30, works=40):
    rng, found = np.random.default_rng(0), []
    for artist in range(artists):
        common, own = rng.normal(size=(works, 1)), rng.normal(size=(works, 2))
        z = shared**0.5 * common + (1 - shared) ** 0.5 * own
        found += [Pair("t", f"{artist}", False, float(a), float(b)) for a, b in norm.sf(z)]
    return found


@pytest.mark.parametrize("shared", [0.0, 0.4])
def test_the_correlation_of_unused_pictures_is_found_with_its_interval(shared):
    found = correlation([*pairs(shared), *(Pair("t", "0", True, 1e-3, 1e-3) for _ in range(500))])
    assert found["estimate"] == pytest.approx(shared, abs=0.08)
    assert found["low"] < found["estimate"] < found["high"] and found["high"] - found["low"] < 0.3


def test_the_allowed_correlation_is_above_what_was_measured():
    report = json.loads((ROOT / "eval/results/mini/combined/combined.json").read_text())
    assert report["allowed correlation"] == CORRELATION
    assert all(c["high"] < CORRELATION for c in report["correlation"].values())


def test_together_they_find_more_at_1_percent_than_either():
    rows = json.loads((ROOT / "eval/results/mini/combined/combined.json").read_text())["rows"]
    shares = {(r["bank"], r["training"], r["test"]): r["used at 0.01"]["share"] for r in rows}
    for bank, training, test in shares:
        assert shares[bank, training, "both"] >= shares[bank, training, test]
