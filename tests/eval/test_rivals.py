"""The table of rivals: thresholds are other artists', RAPID is fitted on others, and every test has its row."""

import numpy as np
import pandas as pd
import pytest

from eval.analysis.rivals import LABELS, OURS, measure_rivals, rates_by_others, rivals_table


def decisions(score, concepts=4, pictures=25):
    """A crossed design: each picture once a member; `score` is (concept, member, rng) -> number."""
    rng = np.random.default_rng(0)
    found = []
    for c in range(concepts):
        for half in (0, 1):
            for p in range(2 * pictures):
                member = int((p < pictures) == (half == 0))
                suspect = f"d/artist {c}-{'ab'[half]}"
                found.append((f"artist {c}", suspect, f"{c}/{p}.jpg", member, score(c, member, rng)))
    return pd.DataFrame(found, columns=["concept", "suspect", "picture", "member", "score"])


def ledger(scores):
    """Rows of a ledger; `scores` is a function for each method and measure, the others are noise."""
    parts = []
    for method, measure in LABELS:
        if method == "fused":
            continue
        score = scores.get((method, measure), lambda c, member, rng: rng.normal())
        known = {"role": "trained", "training": "lora", "method": method, "measure": measure, "evaluations": 40}
        table = decisions(score, pictures=8).assign(**known)
        parts.append(table.assign(dataset=np.where(table["concept"] < "artist 2", "one", "two")))
    return pd.concat(parts, ignore_index=True)


def test_an_artist_sets_no_threshold_of_its_own():
    """One artist's unused pictures all score high: only the others' thresholds rise, and its own are called."""
    table = decisions(lambda c, member, rng: 10.0 * (c == 0) + member + 0.01 * rng.random())
    found = rates_by_others(table, 0.05)
    assert found["holdouts"]["called"] == 50 and found["holdouts"]["of"] == 200
    assert found["members"]["called"] == 50  # of artist 0; the others lie below the threshold that it sets
    shared = rates_by_others(decisions(lambda c, member, rng: member + 0.01 * rng.random()), 0.05)
    assert shared["members"]["share"] == 1 and shared["members"]["interval"] == (1, 1)


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_the_level_is_kept_where_artists_are_alike(level):
    table = decisions(lambda c, member, rng: rng.normal(), concepts=20)
    found = rates_by_others(table, level)
    assert found["holdouts"]["share"] == pytest.approx(level, abs=0.01)
    low, high = found["members"]["interval"]
    assert low <= found["members"]["share"] <= high


def test_thresholds_need_another_artist():
    with pytest.raises(ValueError, match="two concepts"):
        rates_by_others(decisions(lambda c, member, rng: rng.normal(), concepts=1), 0.05)


@pytest.fixture(scope="module")
def entries():
    """Measured on scores of which ours is always right, and each loss says half."""
    rows = ledger(
        {
            OURS: lambda c, member, rng: member,
            ("loss", "suspect"): lambda c, member, rng: member + rng.normal(),
            ("loss", "contrast"): lambda c, member, rng: member + rng.normal() + rng.normal(),
        }
    )
    return measure_rivals(rows)


def test_rapid_joins_the_raw_and_the_calibrated_loss(entries):
    """Each of the two says half; the rule, fitted on other artists, says both."""
    found = {(e["method"], e["measure"]): e for e in entries}
    assert list(found) == list(LABELS)
    rapid = found["fused", "loss.suspect+loss.contrast"]
    assert rapid["auc"] > max(found["loss", m]["auc"] for m in ("suspect", "contrast"))
    assert found[OURS]["auc"] == 1 and found[OURS]["lead"] is None
    assert rapid["lead"]["difference"] == pytest.approx(rapid["auc"] - 1)


def test_the_table_has_a_row_for_each_test(entries):
    lines = rivals_table(entries).splitlines()
    assert len(lines) == 2 + len(LABELS)
    assert all(len(line.split(" | ")) == 6 for line in lines)


def test_scores_that_are_missing_are_named():
    with pytest.raises(ValueError, match=r"no scores of fcre\.suspect"):
        measure_rivals(ledger({}).query("method != 'fcre'"))
