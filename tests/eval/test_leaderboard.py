"""The leaderboard measures what entries scored, and refuses entries of another split."""

import json

import numpy as np
import pandas as pd
import pytest

from eval.benchmark.datasets import prepare
from eval.benchmark.experiment import load_experiment
from eval.benchmark.leaderboard import PRESET, leaderboard_table, load_split, read_entry
from eval.benchmark.plan import plan_units
from tests.support.errors import refuses
from tests.support.paths import ASSETS


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    experiment = load_experiment(PRESET)
    return plan_units(experiment, prepare(experiment, ASSETS, tmp_path_factory.mktemp("split") / "manifest.json"))


@pytest.fixture
def enter(units, tmp_path):
    """A function that writes an entry: the method's scores, and changes to its summary and split."""

    def write(name, score, *, rows=slice(None), more=(), manifest=None, **changes):
        folder = tmp_path / name
        folder.mkdir()
        table = [
            {"key": "0", "dataset": u.dataset, "role": u.role, "concept": u.concept.name, "suspect": u.suspect_name}
            | {"training": u.training, "picture": p.file, "member": member, "method": name, "measure": "own"}
            | {"evaluations": 3, "score": float(score(member, i))}
            for u in units
            for i, (p, _, member) in enumerate(u.pictures)
        ]
        table = [*table[rows], *(row | changed for row in table for condition, changed in more if condition(row))]
        pd.DataFrame(table).to_parquet(folder / "scores.parquet")
        experiment = load_experiment(PRESET).model_dump(mode="json") | {"methods": [name]} | changes
        summary = {"experiment": experiment, "packages": {name: f"{name}-package 1.0"}}
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "manifest.json").write_text(json.dumps({"datasets": manifest or load_split()}))
        return folder

    return write


def test_the_frozen_split_is_the_one_that_the_pictures_that_ship_give(units, tmp_path):
    experiment = load_experiment(PRESET)
    prepare(experiment, ASSETS, tmp_path / "manifest.json")
    assert json.loads((tmp_path / "manifest.json").read_text())["datasets"] == load_split()
    assert len(units) == 8 and sum(len(u.pictures) for u in units) == 160


def test_entries_are_sorted_by_what_their_scores_are_worth(enter, tmp_path):
    enter("poor", lambda member, i: i % 2)
    enter("good", lambda member, i: member)
    enter("wrong", lambda member, i: -member)
    lines = leaderboard_table(tmp_path).splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == ["good.own", "poor.own", "wrong.own"]
    assert lines[0].startswith("| 1 | `good.own` | good-package 1.0 | 3 | 1.000 | 1.000 |")
    assert lines[2].startswith("| 3 | `wrong.own` | wrong-package 1.0 | 3 | 0.000 | 0.000 |")


def test_what_an_entry_says_of_itself_is_not_believed(enter):
    folder = enter("modest", lambda member, i: -member)
    summary = json.loads((folder / "summary.json").read_text()) | {"trained": [{"auc": 1.0}]}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert [c["auc"] for c in read_entry(folder)[0]["by"].values()] == [0, 0]


@pytest.mark.parametrize("part, value", [("seed", 1), ("base", "other"), ("dtype", "bfloat16"), ("trainings", {})])
def test_an_entry_of_another_recipe_is_refused(enter, part, value):
    with refuses("benchmark.entry_differs", part=part):
        read_entry(enter("other", lambda member, i: member, **{part: value}))


def test_an_entry_that_is_older_than_a_setting_of_the_training_stays(enter):
    trainings = load_experiment(PRESET).model_dump(mode="json")["trainings"]
    older = {name: {k: v for k, v in how.items() if k != "initial_word"} for name, how in trainings.items()}
    assert older != trainings and read_entry(enter("older", lambda member, i: member, trainings=older))
    longer = {name: how | {"steps_per_picture": 1} for name, how in older.items()}
    with refuses("benchmark.entry_differs", part="trainings"):
        read_entry(enter("longer", lambda member, i: member, trainings=longer))


def test_an_entry_of_another_split_is_refused(enter):
    split = load_split()
    split["clip art"]["concepts"][0]["halves"].reverse()
    with refuses("benchmark.entry_differs", part="split"):
        read_entry(enter("other", lambda member, i: member, manifest=split))


def test_an_entry_without_its_worst_decisions_is_refused(enter):
    with refuses("benchmark.entry_decisions", expected=160, given=159):
        read_entry(enter("choosy", lambda member, i: member, rows=slice(1, None)))


def test_later_answers_for_chosen_decisions_alone_are_refused(enter):
    """Only the last evaluations count, so they must be of all decisions."""
    later = (lambda row: row["score"] == row["member"], {"evaluations": 9})
    with refuses("benchmark.entry_decisions"):
        read_entry(enter("late", lambda member, i: member if i % 3 else 1 - member, more=[later]))


def test_a_decision_that_stands_twice_is_refused(enter):
    with refuses("benchmark.entry_unreadable"):
        read_entry(enter("twice", lambda member, i: member, more=[(lambda row: row["member"] == 1, {"score": 5.0})]))


def test_nobody_is_taken_for_this_project(enter):
    folder = enter("silent", lambda member, i: member)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["packages"]
    (folder / "summary.json").write_text(json.dumps(summary))
    assert read_entry(folder)[0]["package"] == "not stated"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"experiment": 3}', '{"experiment": {"methods": [{}]}}'])
def test_a_damaged_summary_is_refused(enter, text):
    folder = enter("damaged", lambda member, i: member)
    (folder / "summary.json").write_text(text)
    with refuses("benchmark.entry_unreadable"):
        read_entry(folder)


def test_an_entry_that_cannot_be_read_is_refused(enter, tmp_path):
    with refuses("benchmark.entry_unreadable"):
        read_entry(tmp_path)
    with refuses("benchmark.entry_unreadable"):
        read_entry(enter("holes", lambda member, i: np.nan if i == 3 else member))
