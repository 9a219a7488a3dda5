"""The README is short, and README and docs state what the committed results and the command line hold."""

import re

import pytest

from cgidm.cli import build_parser
from eval.speed.tables import read_reports
from scripts import render_docs
from tests.support.options import option_names
from tests.support.paths import RESULTS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_it_is_short():
    lines = README.splitlines()
    assert len(lines) <= 200 and [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("name", render_docs.BLOCKS)
def test_the_table_is_that_of_the_committed_results(name):
    file, render = render_docs.BLOCKS[name]
    assert render_docs.read_block(name, file) == render(), "run python -m scripts.render_docs"


def test_committed_speeds_are_whole_runs_with_their_commit():
    reports = read_reports(RESULTS / "bench")
    assert reports and all(not r["quick"] and r["commit"] and r["machine"]["processor"] for r in reports)


def test_every_option_is_documented():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [o for o in option_names() if o != "--help" and o not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_its_commands_exist_and_its_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    known = {name for action in build_parser()._actions if isinstance(action.choices, dict) for name in action.choices}
    assert set(re.findall(r"(?:^ {4}|`)cgidm ([a-z]+)\b", text, re.MULTILINE)) <= known | {"bank"}
    local = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in local if not (page.parent / link.partition("#")[0]).exists()] == []
    named = re.findall(r"`((?:cgidm|eval|tests|scripts|docs)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
