"""What a wrong framing costs: how two looks are joined, and what the committed result bears out."""

import json

import pytest

from eval.error_rates.framed import either, framed_table
from eval.error_rates.mirror_rates import MirrorDecision
from tests.support.paths import ROOT

RESULT = ROOT / "eval" / "results" / "mini" / "framed" / "framed.json"


def decision(p_value: float, score: float) -> MirrorDecision:
    who = {"training": "lora", "artist": "a", "suspect": "a-a", "file": "a/1.jpg", "member": 1}
    return MirrorDecision(**who, score=score, p_value=p_value, reference_p=None)


@pytest.mark.parametrize(("framed", "square", "expected"), [(0.01, 0.4, 0.02), (0.4, 0.01, 0.02), (0.7, 0.8, 1.0)])
def test_the_smaller_p_value_of_two_looks_counts_twice(framed, square, expected):
    both = either(decision(framed, 1.0), decision(square, 2.0), "upright")
    assert both.p_value == pytest.approx(expected) and both.score == 2.0
    assert either(decision(framed, 1.0), decision(square, 2.0), "square").p_value == framed, "it is looked at once"


def test_the_committed_result_bears_the_choice_out():
    """The right framing finds what squares find of squares; both find nearly as much; the wrong one misses most."""
    rows = json.loads(RESULT.read_text())["rows"]
    found = {(row["trained on"], row["looked at"]): row["all"] for row in rows}
    power = {key: rates["power at 0.05"]["share"] for key, rates in found.items()}
    squares = power["centre squares", "centre squares"]
    assert power["buckets", "buckets"] >= 0.95 * squares
    for trained in ("buckets", "centre squares"):
        assert power[trained, "not known: both"] >= 0.95 * squares
    assert max(power["buckets", "centre squares"], power["centre squares", "buckets"]) < 0.5
    for rates in found.values():
        assert rates["false calls at 0.05"]["interval"][0] <= 0.05 and rates["false calls at 0.05"]["share"] <= 0.05
        assert len(framed_table({"rows": rows}).splitlines()) == 2 + len(rows)
