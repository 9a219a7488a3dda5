"""The mirror test and a bank together, by counting."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from cgidm.judging.verdict import CORRELATION, CORRELATION_IN_BANK
from eval.error_rates.banks.combined import TESTS, Pair, correlation
from eval.error_rates.banks.mirror_in_banks import MirrorScored, choose_bank, judge_by_banks, judge_sets
from tests.support.paths import ROOT


def pairs(shared, artists=30, works=40):
    rng, found = np.random.default_rng(0), []
    for artist in range(artists):
        common, own = rng.normal(size=(works, 1)), rng.normal(size=(works, 2))
        z = shared**0.5 * common + (1 - shared) ** 0.5 * own
        found += [Pair("t", f"{artist}", False, float(a), 0.5, float(b)) for a, b in norm.sf(z)]
    return found


@pytest.mark.parametrize("shared", [0.0, 0.4])
def test_the_correlation_of_unused_pictures_is_found_with_its_interval(shared):
    found = correlation([*pairs(shared), *(Pair("t", "0", True, 1e-3, 0.5, 1e-3) for _ in range(500))], "by_table")
    assert found["estimate"] == pytest.approx(shared, abs=0.08)
    assert found["low"] < found["estimate"] < found["high"] and found["high"] - found["low"] < 0.3


def test_the_allowed_correlation_is_above_what_was_measured():
    report = json.loads((ROOT / "eval/results/mini/combined/combined.json").read_text())
    assert report["allowed correlation"] == [CORRELATION, CORRELATION_IN_BANK]
    for found in report["correlation"].values():
        assert found["by the table"]["high"] < CORRELATION and found["by the bank"]["high"] < CORRELATION_IN_BANK


def test_a_bank_makes_the_mirror_test_find_more_and_keeps_its_level():
    rows = json.loads((ROOT / "eval/results/mini/combined/combined.json").read_text())["rows"]
    found = {(r["bank"], r["training"], r["test"]): r for r in rows}
    for bank, training in {key[:2] for key in found}:
        by_table, by_bank, both = (found[bank, training, test] for test in (*TESTS[:2], TESTS[-1]))
        assert by_bank["used at 0.05"]["share"] >= by_table["used at 0.05"]["share"]
        for row in (by_bank, both):
            for level in (0.05, 0.01):
                unused = row[f"unused at {level}"]
                assert unused["interval"][0] <= level and unused["share"] <= 1.5 * level
        assert both["used at 0.05"]["share"] >= by_table["used at 0.05"]["share"]


@pytest.mark.parametrize(
    ("bank", "chosen"),
    [
        ("three models", ["d-1/a-b", "d-2/a-a", "d-2/a-b"]),
        ("two models", ["d-2/a-a", "d-2/a-b"]),
        ("4 models", []),
    ],
)
def test_a_suspect_is_judged_by_the_other_models_of_its_artist(bank, chosen):
    suspects = [f"d-{split}/a-{half}" for split in (1, 2) for half in "ab"]
    assert choose_bank(bank, suspects, "d-1/a-a") == chosen


def test_no_model_of_the_suspects_own_split_is_in_a_large_bank():
    suspects = [f"d-{split}/a-{half}" for split in range(1, 6) for half in "ab"]
    assert choose_bank("8 models", suspects, "d-3/a-b") == [s for s in suspects if not s.startswith("d-3")]
    assert choose_bank("two models", suspects, "d-5/a-b") == ["d-1/a-a", "d-1/a-b"]


def scored(rng, difficulty, suspect, used, learnt):
    scores = difficulty + 0.2 * rng.normal(size=20) + learnt * np.isin(np.arange(20), used)
    facts = ("lora", "wikiart/a", suspect)
    return [MirrorScored(*facts, f"{i}", i in used, float(s), 0.5) for i, s in enumerate(scores)]


def test_pictures_and_sets_are_judged_by_the_null_scores_of_their_own_artist():
    rng, called, sets = np.random.default_rng(0), {True: [], False: []}, []
    for _ in range(12):
        found, difficulty = [], rng.normal(0.8, 0.3, 20)  # all of them lean to one side
        for split in (1, 2):
            order = rng.permutation(20).tolist()
            for half, used in (("a", order[:10]), ("b", order[10:])):
                found += scored(rng, difficulty, f"d-{split}/a-{half}", used, 1.0)
        for s, p in judge_by_banks(found, "three models"):
            called[s.used].append(p <= 0.05)
        sets += judge_sets(found, "three models")
    assert np.mean(called[False]) <= 0.08 and np.mean(called[True]) >= 0.9
    assert np.mean([s.by_bank <= 0.05 for s in sets if not s.used]) <= 0.15
    assert np.mean([s.by_table <= 0.05 for s in sets if not s.used]) > 0.5, "the table does not know the artist"
    assert all(s.by_bank <= 0.01 for s in sets if s.used)
