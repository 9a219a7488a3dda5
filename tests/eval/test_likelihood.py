"""Likelihood ratios by counting: the fit, what it never saw, and the committed tables."""

import json
from math import log

import numpy as np
import pytest

from cgidm.judging.mirror_test import NullGroup, table_reference
from cgidm.judging.tables.files import read_tables
from cgidm.judging.tables.likelihood_ratio import LikelihoodTable
from cgidm.resources import resource_root
from eval.error_rates.likelihood import Scored, calibration, cllr, count_rows, fit, out_of_sample, score_of
from tests.support.paths import ROOT


def scored(rng, artists=8, strong=2.0):
    """Normal scores of unit variance: unused ones around 0, used ones around a mean that grows with the distance."""
    rows = []
    for distance, mean in ((0.01, strong / 2), (0.1, strong)):
        for artist in range(artists):
            for used in (False, True):
                values = rng.normal(mean if used else 0.0, 1.0, size=40)
                rows += [Scored(f"row {distance}", f"artist {artist}", used, v, distance) for v in values.tolist()]
    return rows


def test_ratios_are_those_of_the_densities_that_the_scores_were_drawn_from():
    a, b, c, d = fit(scored(np.random.default_rng(0), artists=40))
    for distance, mean in ((0.01, 1.0), (0.1, 2.0)):
        for score in (-1.0, 0.5, 2.0):
            stated = a + b * score + c * log(distance) + d * score * log(distance)
            assert stated == pytest.approx(mean * score - mean**2 / 2, abs=0.25)


def test_every_ratio_comes_from_a_fit_without_the_artist():
    rows = scored(np.random.default_rng(1))
    strange = [Scored("row 0.1", "artist 0", s.used, -s.score, 0.1) for s in rows if s.artist == "artist 0"]
    others = [s for s in rows if s.artist != "artist 0"]
    with_it, without = out_of_sample([*others, *strange], strange), out_of_sample(others, strange)
    assert [v for _, v in with_it] == [v for _, v in without]
    highest = max(s.score for s in others if not s.used)
    ((_, beyond), (_, at)) = out_of_sample(others, [Scored("row 0.1", "new", False, s, 0.1) for s in (99.0, highest)])
    assert beyond == at


def test_calibration_finds_ratios_that_are_too_bold():
    rng = np.random.default_rng(2)
    rows = scored(rng, artists=20)
    right = out_of_sample(rows, rows)
    for row in calibration(right):
        if row["used"] + row["unused"] > 100 and row["observed"] is not None:
            assert 0.6 < row["observed"] / row["stated"] < 1.7
    bold = calibration([(s, 2 * v) for s, v in right])
    assert any(row["observed"] is not None and row["observed"] < 0.6 * row["stated"] for row in bold if row["from"] > 1)
    used, unused = [v for s, v in right if s.used], [v for s, v in right if not s.used]
    assert 0 < cllr(used, unused) < cllr([0.0] * 9, [0.0] * 9) == 1.0 < cllr(unused, used)
    counted = count_rows(right)
    assert [r["row"] for r in counted] == ["row 0.01", "row 0.1"] and counted[0]["Cllr"] > counted[1]["Cllr"]


def test_the_score_of_a_p_value_lies_between_the_null_scores_around_it():
    reference = table_reference(
        [NullGroup(artist=f"{i}", training="t", scores=(0.1 * i, 0.1 * i + 0.05)) for i in range(10)]
    )
    for score in (0.12, 0.61, 0.84):
        found = score_of(reference.p_value(score + reference.allowance), reference) - reference.allowance
        assert abs(found - score) <= 0.05
    beyond = score_of(reference.p_value(99.0), reference)
    assert beyond == pytest.approx(max(reference.scores) + reference.allowance)


def test_the_committed_ratios_hold_for_trainings_that_entered_no_fit():
    report = json.loads((ROOT / "eval/results/mini/likelihood/likelihood.json").read_text())
    (table,) = read_tables(LikelihoodTable, "mirror_likelihood.json", "", resource_root())
    assert report["coefficients"] == list(table.coefficients)
    for row in report["calibration of other trainings"]:
        if row["from"] >= 1 and row["unused"] >= 10:
            assert row["observed"] > row["stated"]
    assert all(row["unused above 10"] <= 0.05 for row in report["other trainings"])
