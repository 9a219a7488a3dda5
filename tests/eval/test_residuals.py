"""What residuals make of a bank's verdict: the committed counts are those of the committed scores."""

import json

import numpy as np
import pandas as pd
import pytest

from cgidm.judging.tables.residual_table import TABLE
from cgidm.resources import resource_root
from eval.__main__ import main
from eval.error_rates.banks import residuals
from eval.options import RESULTS
from tests.support.errors import refuses

FLOW = RESULTS / "mini" / "rates-flow"
COMMITTED = json.loads((RESULTS / "mini" / "residuals" / "residuals.json").read_text())


def test_the_committed_counts_are_those_of_the_committed_scores(tmp_path):
    main(["residuals", "--out", str(tmp_path), "--table", str(tmp_path / TABLE)])
    assert json.loads((tmp_path / "residuals.json").read_text()) == COMMITTED
    assert (tmp_path / TABLE).read_text() == (resource_root() / TABLE).read_text()
    assert (tmp_path / "residuals.md").read_text() == (RESULTS / "mini" / "residuals" / "residuals.md").read_text()


@pytest.mark.parametrize("training", ["lora", "dreambooth"])
def test_residuals_find_more_at_the_same_rate_whatever_the_picture_s_difficulty(training):
    scores, three, two = (r for r in COMMITTED["rows"] if r["training"] == training)
    assert three["false calls"]["share"] <= 0.05  # that of two models is asked for below, at every strength
    for row in (three, two):
        assert row["power"]["share"] >= 0.95
        assert max(row["false calls by fifth of difficulty"]) <= 0.1
    assert scores["power"]["share"] < 0.9


@pytest.mark.parametrize("training", [row["training"] for row in COMMITTED["rows"]][::3])
def test_two_models_call_no_more_than_their_level_however_little_was_learnt(training):
    (two,) = (r for r in COMMITTED["rows"] if r["training"] == training and r["ranking"] == "residuals, two models")
    low, high = two["false calls"]["interval"]
    assert low <= 0.05 <= high and two["false calls"]["share"] <= 0.08


def test_the_flow_model_s_counts_are_those_of_its_committed_scores(tmp_path):
    main(["residuals", "--rates", str(FLOW), "--out", str(tmp_path)])
    found = json.loads((FLOW / "residuals.json").read_text())
    assert json.loads((tmp_path / "residuals.json").read_text()) == found
    for row in found["rows"]:
        assert row["AUC"]["artists"] == 12 and row["AUC"]["suspects"] == 48
        low, high = row["false calls"]["interval"]
        assert low <= row["false calls"]["share"] <= high


def test_suspects_of_two_bases_make_no_table(tmp_path):
    folders = []
    for name in ("mini-rates", "mini-rates-flow"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        (folders[-1] / "rates.json").write_text(json.dumps({"experiment": name}))
    assert residuals.find_base(folders[:1]) != residuals.find_base(folders[1:])
    with refuses("error_rates.many_bases", given=2):
        residuals.find_base(folders)


def test_scores_without_difficulty_gain_nothing(monkeypatch, tmp_path):
    """Pictures that are alike, and suspects that learnt nothing: no ranking finds more than its level."""
    rng = np.random.default_rng(0)
    rows = []
    for artist in "abcdef":
        for training in ("lora", "dreambooth"):
            for split in (1, 2):
                order = rng.permutation(20)
                for half in "ab":
                    used = set(order[:10] if half == "a" else order[10:])
                    for i in range(20):
                        score = {"score": rng.normal(), "member": int(i in used)}
                        row = {"training": training, "concept": artist, "suspect": f"d-{split}/{artist}-{half}"}
                        rows.append({**row, "file": f"{artist}/{i}.png", **score})
    for folder, found in (("rates", rows), ("rates-dose", [])):
        (tmp_path / "mini" / folder).mkdir(parents=True)
        pd.DataFrame(found, columns=list(rows[0])).to_csv(tmp_path / "mini" / folder / "decisions.csv")
    monkeypatch.setattr(residuals, "RESULTS", tmp_path)
    main(["residuals", "--out", str(tmp_path)])
    for row in json.loads((tmp_path / "residuals.json").read_text())["rows"]:
        assert row["power"]["share"] < 0.1 and row["false calls"]["share"] < 0.1
