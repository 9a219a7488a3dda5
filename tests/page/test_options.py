"""What a run of the page is asked beside the plain question: what it can find, other views, a bank of null models."""

import dataclasses
import json
import zipfile
from contextlib import closing

import gradio as gr
import pytest

from cgidm import authenticate as library
from cgidm.judging.null_bank import open_bank
from cgidm.judging.scoring import score_views
from cgidm.method.views import VIEWS
from cgidm.page.handlers import request
from cgidm.page.handlers import runs as judging
from cgidm.page.handlers.cost import cost_view
from cgidm.page.html.i18n import translate
from cgidm.page.runs import gpu_worker as work
from cgidm.page.runs import store as visit
from cgidm.page.runs.cost import cost_of
from cgidm.page.runs.model_cache import PAIRS, open_models
from cgidm.page.runs.runner import execute_run
from cgidm.page.runs.settings import make_config
from cgidm.page.runs.store import Visit
from cgidm.pictures.images import decode_picture
from tests.support import page_runs
from tests.support.page_runs import found, write_bank
from tests.support.paths import SUSPECTS, pictures_of

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "ROOT", tmp_path / "visits")


def begun(**wish):
    asked = page_runs.request(**{"steps": 2} | wish)
    asked.check()
    return asked.begin(Visit())


def record_of(run):
    return json.loads((run.public_dir / "result.json").read_text())


@pytest.mark.parametrize("suspect", SUSPECTS)
def test_what_a_run_can_find_is_said_before_its_first_step_and_is_what_it_found(suspect):
    """Of a whole network by its weights, of an adapter by its answers: the same number before and after."""
    run = begun(suspect=f"shipped:{suspect}")
    moments = list(execute_run(run))
    phases = [m.phase for m in moments]
    assert phases[:3] == ["loading", "loading", "planned"] and "planned" not in phases[3:]
    power = moments[2].foreseen["power"]
    assert power > 0.9 and record_of(run)["power"] == power
    assert all(m.foreseen == {"power": power} for m in moments[2:-1])


def test_a_run_that_was_put_down_keeps_what_was_foreseen_and_does_not_ask_again(monkeypatch):
    run = begun(steps=5)
    with closing(execute_run(run)) as moments:
        assert next(m for m in moments if m.phase == "step" and m.done == 1).foreseen
    power = run.record()["power"]
    assert run.record()["stopped"] and run.progress().foreseen == {"power": power} and power > 0.9
    monkeypatch.setattr(work, "foresee", None)
    *_, last = execute_run(run)
    assert last.phase == "finished" and record_of(run)["power"] == power


def test_a_base_that_was_never_measured_is_called_so(monkeypatch):
    monkeypatch.setattr(library, "find_power_table", lambda weights: None)
    visitor = Visit()
    name = judging.begin(page_runs.request(steps=1), visitor.token, False, "en")["current"]
    views = list(judging.go_on(visitor.token, name, False, "en", None))
    said = [view["progress"] for view in views if "progress" in view]
    unknown = translate("en", "power.unknown")
    assert unknown in said[2] and translate("en", "status.beginning") in said[2] and unknown in views[-2]["answer"]


def test_an_undertrained_suspect_is_told_of_before_the_run_and_yields_cannot_tell(monkeypatch):
    monkeypatch.setattr(library, "weight_distance", lambda pair: 0.01)
    holdout = [str(path) for path in pictures_of(SUSPECTS[0], "holdout")[:1]]
    wish = dataclasses.replace(page_runs.request(2), pictures=holdout, controls=())
    run = wish.begin(Visit())
    moments = list(execute_run(run))
    power = next(m for m in moments if m.phase == "planned").foreseen["power"]
    [picture] = record_of(run)["pictures"]
    assert power < 0.5 and picture["outcome"] == "cannot tell" and picture["p_value"] > 0.05


def test_the_search_looks_at_every_view_of_pictures_and_controls():
    run = begun(search=True)
    *_, last = execute_run(run)
    record = record_of(run)
    assert last.phase == "finished" and record["config"]["views"] == list(VIEWS)
    pair, config = PAIRS.get(open_models(run.requested_models())), run.settings.config()
    read = [
        [decode_picture(s.data, s.name, pair.resolution) for s in part] for part in (run.pictures(), run.controls())
    ]
    pictures, controls = (score_views(pair, part, config) for part in read)
    assert record["control_scores"] == pytest.approx(controls.amax(0).tolist(), abs=1e-5)
    assert record["pictures"][0]["scores"]["loss_contrast"] == pytest.approx(pictures.amax().item(), abs=1e-5)
    assert record["pictures"][0]["view"] == list(VIEWS)[int(pictures[:, 0].argmax())]


def test_the_known_scores_of_the_shipped_controls_are_those_of_the_same_views():
    run = begun(controls=())
    models, controls = open_models(run.requested_models()), run.controls()
    config, searching = make_config("fast", 0), make_config("fast", 0, search=True)
    known = ShippedScores()
    known.put(models, controls, config, (1.0, 2.0))
    assert known.get(models, controls, config) == (1.0, 2.0) and known.get(models, controls, searching) == ()


def test_what_the_search_costs_is_said_beforehand(tmp_path):
    config, searching = make_config("fast", 0), make_config("fast", 0, search=True)
    steps = 2 * 40 * 2
    plain, more = (cost_of(1, 40, c).evaluations - steps for c in (config, searching))
    assert more == pytest.approx(7 * plain, abs=4) and plain == round(2 * 41 * 20 / 3)
    name = f"shipped:{SUSPECTS[0]}"
    said = [
        cost_view({"suspect": name, "preset": "fast", **rest}, "en")["cost"]
        for rest in ({}, {"search": True}, {"bank": "bank.json"})
    ]
    counts = [cost_of(1, n, c).evaluations for n, c in ((40, config), (40, searching), (0, config))]
    for html, count in zip(said, counts, strict=True):
        assert f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") in html


def test_a_bank_stands_for_controls_whether_or_not_the_run_is_put_down(tmp_path):
    path = write_bank(tmp_path / "my bank.json")
    bank = open_bank(tmp_path / "my bank.json")
    whole, broken = (begun(bank=path, controls=(), steps=4, pictures=2) for _ in range(2))
    assert "controls" not in [m.phase for m in execute_run(whole)]
    for _ in range(2):
        with closing(execute_run(broken)) as moments:
            next(m for m in moments if m.phase == "step" and m.done)
    list(execute_run(broken))
    assert found(broken) == found(whole)
    record = record_of(whole)
    assert record["control_scores"] == list(bank.content.nulls) and record["controls"] == []
    assert record["bank"]["sha256"] == bank.sha256 and record["bank"]["name"] == "my bank.json"
    assert record["set"]["used"]["bounded_above"] and len(record["set"]["adjusted"]) == 2
    assert record["power"] == pytest.approx(min(bank.content.power(), 0.9875))
    with zipfile.ZipFile(whole.public_dir / "evidence.zip") as evidence:
        assert not [name for name in evidence.namelist() if name.startswith("controls/")]


REFUSED = (
    ({"controls": None}, {}, "Control pictures and a bank were given; accepted: one of them"),
    ({"search": True}, {}, "A bank and the search were given; accepted: one of them"),
    ({}, {"models": []}, "but bank.json is not one"),
    ({}, {"format": 3}, "but bank.json is not one"),
    ({}, {"format": 1}, "but bank.json has format 1"),
    ({}, {"base": ["0" * 64]}, "was made for another base model"),
    ({}, {"prompt": "another"}, "expected the prompt “another”"),
    ({"seed": 4}, {}, "expected seed = 3, with which"),
)


@pytest.mark.parametrize(("other", "spoilt", "said"), REFUSED, ids=[said for *_, said in REFUSED])
def test_a_bank_that_does_not_fit_is_one_sentence_before_anybody_waits_for_a_gpu(tmp_path, other, spoilt, said):
    wish = {"bank": write_bank(tmp_path / "bank.json", **spoilt), "controls": ()} | other
    if wish["controls"] is None:
        del wish["controls"]
    visitor = Visit()
    with pytest.raises(gr.Error) as error:
        name = judging.begin(page_runs.request(**wish), visitor.token, False, "en")["current"]
        list(judging.fetch(visitor.token, name, "en", None))
    words = str(error.value.message)
    assert said.replace("'", "&#x27;") in words and str(tmp_path) not in words and len(words) < 600


def test_a_bank_that_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "bank.json"
    with path.open("wb") as file:
        file.truncate(request.MAX_BANK + 1)
    with pytest.raises(request.UserError, match=r"bank\.json has 5,000,001 bytes; accepted: a bank of at most 5,000"):
        page_runs.request(bank=str(path), controls=()).check()
    monkeypatch.setattr(request, "MAX_NULLS", 79)
    with pytest.raises(request.UserError, match=r"holds 80 scores; accepted here: a bank of at most 79"):
        page_runs.request(bank=write_bank(path), controls=()).check()
