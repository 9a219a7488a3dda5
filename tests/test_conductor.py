"""The protocol is conducted once: what decides an answer is called by a sitting of a run, and by nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LIBRARY = ROOT / "cgidm"
ELSEWHERE = {  # what is no verdict: null scores of other suspects, the meaning of an outcome
    "score_mirror": {"run/calibrate_command.py"},
    "near_duplicates": {"run/calibrate_command.py"},  # its pictures are counted once, as controls are
    "representatives": {"run/calibrate_command.py"},
    "is_positive": {
        *(f"evidence/exports/{name}.py" for name in ("catalogue", "facts")),
        *(f"evidence/suspects/{name}.py" for name in ("correction", "summary")),
    },
}
CONDUCTOR = {"conductor.py", "run/plan.py", "run/recoveries.py", "run/sitting.py"}
CHECKER = "evidence/recompute.py"  # takes the steps that need no model once more, and compares what comes out
ROOMS = ("judging.", "pictures.duplicates", "method.run_state")  # whose functions the conductor puts in order
OTHERS_TOO = {  # steps that are not the protocol's own
    "check_bank",  # callers ask it before a run, so that nobody waits for a refusal
    "framing_for",  # callers frame pictures before a run
    "weight_distance",  # a measure, which the training of null models needs too
    "parse_lineup",  # a plan is read, as a record is
}
VERDICTS = ("judge", "judge_set")  # of one picture and of several


def protocol() -> list[str]:
    """The functions that the conductor imports from the rooms that decide."""
    steps = []
    for file in CONDUCTOR:
        for node in ast.walk(ast.parse((LIBRARY / file).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ROOMS):
                steps += [alias.name for alias in node.names if alias.name.islower()]
    return sorted(set(steps) - OTHERS_TOO)


def names_used(path: Path) -> Iterator[str]:
    """The last part of every name that is read: whatever is called or handed over."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.id if isinstance(node, ast.Name) else node.attr


def users(name: str) -> set[str]:
    return {path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py") if name in names_used(path)}


def test_the_conductor_takes_every_step():
    assert {"judge_against", "plan_lineup", "score_controls", "score_recovery", "continue_recovery"} <= set(protocol())
    assert len(protocol()) >= 14


@pytest.mark.parametrize("name", protocol())
def test_a_step_of_the_protocol_is_taken_by_the_conductor_alone(name):
    """Within `judging/` a step may be made of others."""
    found = {path for path in users(name) if not path.startswith("judging/")} - ELSEWHERE.get(name, set())
    assert found and found <= CONDUCTOR | {CHECKER}


def test_whoever_checks_a_record_takes_the_steps_of_the_run():
    """And none of its own: the functions that derive an answer from scores are the very same."""
    steps = ("judge_against", "add_residual", "expect_power", "mirror_reference", "add_recovery_flags", "plan_lineup")
    assert all(CHECKER in users(name) and name in protocol() for name in steps)


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts_are_given_in_one_place(name):
    assert users(name) == {"judging/judge_pictures.py"}
