"""The tests themselves: what they share lies in `tests/support`, where the repository lies is said once."""

import ast

import pytest

from tests.support.paths import ROOT

TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.relative_to(ROOT / "tests").as_posix())
def test_no_module_imports_from_a_test(path):
    imported = {n.module or "" for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)}
    assert {m for m in imported if m.startswith("tests.") and not m.startswith("tests.support")} == set()


def test_the_root_of_the_repository_is_found_in_one_place():
    asked = "Path(__file__)"
    assert [p.name for p in TESTS if asked in p.read_text() and p.name not in ("paths.py", "test_suite.py")] == []
