"""The protocol is conducted once: what decides an answer is called by `cgidm/authenticate.py` and by nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

CONDUCTOR = "authenticate.py"
PROTOCOL = (
    "alike",  # by which copies are set aside
    "copy_notes",
    "find_table",  # of power
    "continue_recovery",
    "plan_lineup",
    "measure_distance",
    "score_controls",
    "score_recovery",
    "check_run",
    "generated_flags",
    "innocent_flags",
    "blind_flags",
    "stands_out_flags",
    "bank_flags",
    "judge_pictures",
)
VERDICTS = ("judge", "judge_set")  # of one picture and of several: both within `judge_pictures`


def calls(path: Path) -> Iterator[str]:
    """The last name of whatever is called or handed over by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.id if isinstance(node, ast.Name) else node.attr


def users(name: str) -> set[str]:
    library = ROOT / "cgidm"
    return {path.relative_to(library).as_posix() for path in library.rglob("*.py") if name in calls(path)}


@pytest.mark.parametrize("name", PROTOCOL)
def test_a_step_of_the_protocol_is_taken_by_the_conductor_alone(name):
    assert {path for path in users(name) if not path.startswith("judging/")} == {CONDUCTOR}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts_are_given_in_one_place(name):
    assert users(name) == {"judging/judge_pictures.py"}
