"""Questions whose right answer is known: what is committed of this version, and what is found when one turns wrong."""

import dataclasses
import json
import re

import pytest

from cgidm import __version__
from cgidm.judging.verdict import is_positive
from cgidm.resources import example_names
from eval.regressions.retest import (
    ALTERED,
    BASE,
    add_column,
    find_regressions,
    judge_cases,
    read_cases,
    regression_table,
)
from tests.support.paths import ASSETS, RESULTS, ROOT

CASES = {case.id: case for case in read_cases()}
OUTCOMES = {
    *("consistent with training on this image", "consistent with training on some of these images"),
    *("weak evidence", "no evidence", "cannot tell"),
}
QUICK = ("no-controls", "not-in-bank", "one-colour")  # that score no controls


def committed():
    return json.loads((RESULTS / "regressions.json").read_text())


def test_each_case_says_what_is_true_and_why_and_names_what_ships():
    assert len(CASES) == len(read_cases()) >= 20
    for case in CASES.values():
        assert case.truth in ("used", "not used") and case.right and set(case.right) <= OUTCOMES and len(case.why) > 20
        assert case.suspect in (*example_names(), BASE) and case.altered_picture in ALTERED
        assert all((ASSETS / picture).is_file() for picture in case.pictures)
        positive = [is_positive(outcome) for outcome in case.right]
        assert set(positive) == {case.truth == "used"}, "a wrong yes is never right, and a used picture must be found"
        for picture in case.pictures:
            own = case.suspect in picture.split("/")
            assert ("member" in picture and own and case.suspect != BASE) or case.truth == "not used"


def test_the_answers_of_this_version_are_committed_and_none_is_wrong_unless_it_is_open():
    found = committed()[__version__]
    assert found.keys() == CASES.keys()
    assert find_regressions(read_cases(), found) == []
    wrong = [name for name, case in CASES.items() if not case.is_right(found[name])]
    assert wrong == [name for name, case in CASES.items() if case.known_wrong]


def test_the_committed_table_is_that_of_the_committed_answers():
    said = (RESULTS / "regressions.md").read_text()
    assert said == regression_table(read_cases(), committed())
    assert said.count("**wrong**") == sum(case.known_wrong for case in CASES.values())


def test_an_answer_that_turns_wrong_is_named_and_so_is_an_open_one_that_turns_right():
    cases = [CASES["lora-unused"], dataclasses.replace(CASES["same-frame"], known_wrong=True)]
    right, wrong = "no evidence", "consistent with training on this image"
    assert find_regressions(cases, {"lora-unused": right, "same-frame": wrong}) == []
    assert find_regressions(cases, {"lora-unused": wrong, "same-frame": wrong}) == ["lora-unused"]
    assert find_regressions(cases, {"lora-unused": right, "same-frame": right}) == ["same-frame"]


def test_a_version_has_one_column_and_a_case_that_it_did_not_have_is_a_dash():
    table = add_column({"0.1": {"lora-used": "no evidence"}}, "0.2", {"lora-used": "cannot tell"})
    table = add_column(
        table, "0.2", {"lora-used": "consistent with training on this image", "base-itself": "cannot tell"}
    )
    lines = regression_table([CASES["lora-used"], CASES["base-itself"]], table).splitlines()
    assert [re.split(r" \| ", line)[2:4] for line in lines[-2:]] == [
        ["**wrong**: no evidence", "consistent with training on this image"],
        ["-", "cannot tell"],
    ]


@pytest.mark.slow
def test_cases_are_answered_as_it_is_committed():
    found = {case.id: outcome for case, outcome in judge_cases(ASSETS, [CASES[name] for name in QUICK])}
    assert found == {name: committed()[__version__][name] for name in QUICK}


def test_the_form_for_a_wrong_answer_asks_what_is_needed_to_repeat_it():
    form = (ROOT / ".github" / "ISSUE_TEMPLATE" / "wrong-answer.yml").read_text()
    for asked in ("version", "truth", "knowledge", "command", "models", "bundle"):
        assert f"id: {asked}\n" in form
    assert "public" in form and form.count("required: true") >= 8
