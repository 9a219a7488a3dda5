"""The report of one recovery that is scored after several numbers of steps: each number is a row of its own."""

import json

import pandas as pd

from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Row
from eval.benchmark.report import name_runs, write_report
from tests.support.score_tables import coin, crossed, perfect

MEASURES = ("removed_cosine", "removed_alignment", "efficientnet_lite0")
SCORES = {500: perfect, 2000: lambda m, e: m + e, 3000: coin}  # network evaluations -> how good they are


def rows():
    parts = [crossed(score, ("cgidm", m), evaluations=at) for at, score in SCORES.items() for m in MEASURES]
    return pd.concat(parts, ignore_index=True)


def test_each_number_of_steps_is_a_row_and_one_curve_is_drawn(tmp_path):
    experiment = load_experiment("mini-figure3b")
    blind = {"wikiart": {"n": 40, "auc": 0.5, "chance": 0.5, "p_value": 0.5}}
    write_report(experiment, blind, {}, [Row(key="k", **r) for r in rows().to_dict("records")], tmp_path)
    cells = json.loads((tmp_path / "summary.json").read_text())["trained"]
    found = {e["method"]: e["auc"] for e in cells if e["measure"] == "removed_cosine"}
    assert found.keys() == {"cgidm, 250 steps", "cgidm, 1000 steps", "cgidm, 1500 steps"}
    assert found["cgidm, 250 steps"] == 1 and 0.6 < found["cgidm, 1000 steps"] < 0.95
    lines = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| cgidm")]
    assert [line.split(" | ")[0] for line in lines] == [f"| cgidm, {n} steps" for n in (250, 1000, 1500)]
    assert "cgidm, 250 steps.removed_cosine" in (tmp_path / "scores.csv").read_text().splitlines()[0]
    kept = pd.read_parquet(tmp_path / "scores.parquet")
    assert set(kept["method"]) == {"cgidm"}, "the ledger's rows are kept as they are"
    assert (tmp_path / "auc-against-evaluations.png").stat().st_size > 0


def test_a_recovery_that_is_scored_once_keeps_its_name():
    table = crossed(coin, evaluations=60)
    pd.testing.assert_frame_equal(name_runs(table, load_experiment("mini-time")), table)
