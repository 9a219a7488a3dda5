"""The answer that is there before the recovery: shown at once, kept when the run is stopped."""

from contextlib import closing

import pytest

from cgidm.page.handlers import runs as judging
from cgidm.page.html.i18n import LANGUAGES, translate
from cgidm.page.runs import background
from cgidm.page.runs import store as visit
from cgidm.page.runs.store import Visit
from tests.support import page_runs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_models")]


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "ROOT", tmp_path / "visits")
    monkeypatch.setattr(background, "runs_go_on_alone", lambda: False)  # it is put down when nobody watches


def begun(token, several):
    wish = page_runs.request(steps=3, pictures=2 if several else 1)
    return judging.begin(wish, token, "en")["pending"]


@pytest.mark.parametrize("several", [False, True])
def test_it_is_shown_before_the_recovery_and_stays_when_the_run_is_stopped(several):
    visitor = Visit()
    name = begun(visitor.token, several)
    early = translate("en", "answer.early")
    views, run = [], visitor.find(name)
    with closing(judging.go_on(visitor.token, name, "en", None)) as shown:
        for view in shown:
            views.append(view)
            if translate("en", "status.step.first", step=1, steps=3) in view.get("progress", ""):
                break
    told = [i for i, view in enumerate(views) if early in view.get("answer", "")]
    begun_at = next(i for i, v in enumerate(views) if translate("en", "status.answered") in v.get("progress", ""))
    assert told == [begun_at] and run.answer() is not None
    stopped = judging.show(visitor.token, name, "en")["answer"]
    assert early in stopped and translate("en", "stopped.about") in stopped
    *_, last = (v for v in judging.go_on(visitor.token, name, "en", None) if "answer" in v)
    assert early not in last["answer"] and run.is_finished and run.answer() is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_tells_it(language):
    assert translate(language, "answer.early") and translate(language, "status.answered")
