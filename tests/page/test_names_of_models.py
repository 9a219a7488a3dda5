"""Equal weights under several names are loaded once, and each record has the names of its own visit alone."""

import shutil

import pytest

from cgidm.evidence.seal import MANIFEST, RECORD
from cgidm.messages import translations
from cgidm.page.handlers.runs import begin
from cgidm.page.runs import store
from cgidm.page.runs.model_cache import PAIRS
from cgidm.page.runs.runner import execute_run
from cgidm.page.runs.store import Visit
from cgidm.resources import find_example
from tests.support.page_runs import request
from tests.support.paths import SUSPECTS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_models")]

ROLLANDIN = SUSPECTS[1]
NAMES = ("her-style.safetensors", "stranger.safetensors", f"shipped:{ROLLANDIN}")


def suspect_of(name, folder):
    """A suspect that is handed over under a name, or one that ships; its bytes are the same."""
    if name.startswith("shipped:"):
        return {"suspect": name, "upload": None}
    [weights] = find_example(ROLLANDIN).checkpoint.glob("*.safetensors")
    return {"suspect": "", "upload": str(shutil.copyfile(weights, folder / name))}


def test_reports_are_in_the_language_of_the_visit(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path / "visits")
    visit = Visit()
    run = visit.find(begin(request(steps=1), visit.token, "ja")["current"])
    *_, last = execute_run(run)
    assert last.phase == "finished" and run.record().language == "ja"
    assert translations("ja")["report.title"] in (run.public_dir / "report.html").read_text(encoding="utf-8")


def test_two_visits_with_the_same_suspect_under_two_names_each_record_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path / "visits")
    loaded = len(PAIRS)
    for name in NAMES:
        wanted = request(steps=2, prompt="names", **suspect_of(name, tmp_path))
        wanted.check()
        run = wanted.begin(Visit())
        *_, last = execute_run(run)
        assert last.phase == "finished"
        record = run.record()
        assert name in record.models.suspect
        assert [file for file in record.models.sha256 if name in file]
        said = "".join((run.public_dir / file).read_text() for file in (RECORD, MANIFEST, "report.html"))
        assert [other for other in NAMES if other in said] == [name]
    assert len(PAIRS) == loaded + 1
