"""Whoever serves the page can sign what is made there; each bundle says how many-th run of its visit it is."""

import subprocess
import zipfile

import gradio as gr
import pytest

from cgidm.evidence.anchors.signature import check_signatures
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.record import StoppedRecord
from cgidm.page.html.i18n import LANGUAGES, translate
from cgidm.page.runs import store as visit
from cgidm.page.runs.attempts import count_attempt
from cgidm.page.runs.runner import execute_run
from cgidm.page.runs.signing import VARIABLE, operator_key
from cgidm.page.runs.store import Visit
from cgidm.page.ui.operator_notice import build_operator_notice
from tests.support.errors import refuses
from tests.support.page_runs import request
from tests.support.paths import SUSPECTS


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "ROOT", tmp_path / "visits")
    operator_key.cache_clear()
    yield
    operator_key.cache_clear()


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True)
    return path


def finished(visitor, **other):
    run = request(1, **other).begin(visitor)
    *_, last = execute_run(run)
    assert last.phase == "finished"
    return run


def test_runs_are_counted_by_visit_and_suspect(tmp_path):
    assert [count_attempt(tmp_path, run, "a") for run in ("x", "y", "x", "z")] == [1, 2, 1, 3]
    assert count_attempt(tmp_path, "w", "b") == 1  # another suspect
    (tmp_path / "other").mkdir()
    assert count_attempt(tmp_path / "other", "x", "a") == 1  # another visit, of whomever


@pytest.mark.parametrize("given", ["pem", "path", "one line"])
def test_the_operator_s_key_is_a_file_or_the_key_itself(key, monkeypatch, given):
    text = key.read_text()
    values = {"pem": text, "path": str(key), "one line": text.replace("\n", "\\n")}
    monkeypatch.setenv(VARIABLE, values[given])
    assert operator_key() is not None


def test_without_a_key_nothing_is_signed_and_a_wrong_one_is_refused(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert operator_key() is None
    operator_key.cache_clear()
    monkeypatch.setenv(VARIABLE, "-----BEGIN PRIVATE KEY-----\njunk\n-----END PRIVATE KEY-----")
    with refuses("evidence.no_private_key", path=VARIABLE):
        operator_key()


@pytest.mark.slow
@pytest.mark.usefixtures("small_models")
def test_a_second_run_on_the_same_suspect_says_so_and_is_signed(key, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(key))
    visitor = Visit()
    runs = [finished(visitor), finished(visitor), finished(visitor, suspect=f"shipped:{SUSPECTS[1]}")]
    records = [run.record() for run in runs]
    assert [r.statements.attempt for r in records if r is not None and r.statements is not None] == [1, 2, 1]
    page = (runs[1].public_dir / "report.html").read_text(encoding="utf-8")
    first = page[page.index("<p>") : page.index("</p>")]
    assert "It is run number 2 on this suspect in one visit to a page." in first
    assert "cannot know of other visits" in first
    packed = runs[1].public_dir / "evidence.zip"
    with open_bundle(packed) as bundle:
        found = check_signatures(bundle)
    assert len(found.keys) == 1 and found.problems == ()
    with zipfile.ZipFile(packed) as file:
        assert {"signatures/01.sig", "signatures/01.pem"} <= set(file.namelist())
    assert not isinstance(records[1].stopped, StoppedRecord)


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_serves_the_page_is_said_or_that_nobody_has_said_it(language):
    def said(**environment: str) -> str:
        with gr.Blocks() as page:
            build_operator_notice(lambda key: translate(language, key), environment)
        return "\n".join(b.value for b in page.blocks.values() if isinstance(b, gr.Markdown))

    silent, stated = said(), said(CGIDM_OPERATOR="Anna", CGIDM_PLACE="Bern, Switzerland")
    none, own = translate(language, "operator.none"), translate(language, "operator.own")
    assert none in silent and own in silent
    assert none not in stated and own in stated and "Anna" in stated and "Bern, Switzerland" in stated
