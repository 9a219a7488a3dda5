"""A line-up on the page: its decoys are recovered after the pictures, it is shown blind, and a choice is made once."""

import dataclasses
import io
import json
import os
import re
import zipfile
from contextlib import closing
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image, ImageOps

from cgidm.cli import main
from cgidm.conductor import authenticate
from cgidm.evidence.bundle_writer import LINEUP, write_evidence
from cgidm.evidence.lineup_sheet import ROLES, panel_name
from cgidm.evidence.record import StoppedRecord
from cgidm.evidence.record_json import to_json
from cgidm.evidence.record_of_result import lineup_of
from cgidm.judging.lineup import judge_lineup
from cgidm.page.handlers import lineup as choosing
from cgidm.page.handlers import runs as judging
from cgidm.page.handlers.cost import cost_view
from cgidm.page.html.progress import cost_html
from cgidm.page.runs import background
from cgidm.page.runs import gpu_worker as work
from cgidm.page.runs import runner as running
from cgidm.page.runs import store as visit
from cgidm.page.runs.cost import cost_of, count_parts
from cgidm.page.runs.model_cache import PAIRS, models_record, open_models
from cgidm.page.runs.runner import execute_run
from cgidm.page.runs.settings import make_config
from cgidm.page.runs.store import Visit, sweep
from cgidm.pictures.images import decode_picture, to_uint8
from cgidm.run.events import RunProgress
from tests.support import page_runs
from tests.support.errors import refuses
from tests.support.page_records import Reader
from tests.support.page_runs import check_refused, found, write_bank
from tests.support.paths import SUSPECTS, pictures_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_models")]

CONTROLS = [str(path) for path in pictures_of(SUSPECTS[0], "control")[:6]]
STEPS = 4


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "ROOT", tmp_path / "visits")
    return tmp_path / "visits"


def wish(**other):
    return page_runs.request(**{"steps": STEPS, "controls": CONTROLS, "lineup": 3} | other)


def begun(visitor=None, **other):
    asked = wish(**other)
    asked.check()
    return asked.begin(visitor or Visit())


def all_found(run):
    """What a run found, and what an observer of its line-up sees, to the last bit."""
    shown = {p.name: p.read_bytes() for p in run.lineup_dir.rglob("*") if p.is_file()}
    assert not (run.public_dir / "lineup").exists() and not list(run.public_dir.glob("live-*"))
    return found(run), shown


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run with two rounds of three finds that nobody interrupts: as it is left, its folder, and its moments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visit, "ROOT", tmp_path_factory.mktemp("visits"))
        run = begun(pictures=2)
        moments = list(execute_run(run))
        return all_found(run), run, moments


def test_the_decoys_follow_the_pictures_whose_answer_is_there_before(whole):
    _, _, moments = whole
    phases = [m.phase for m in moments]
    judged = phases.index("judged")
    assert phases[-1] == "finished" and "step" in phases[:judged]
    assert phases[judged + 1 : -1] == ["decoys"] * STEPS
    assert [(m.done, m.of) for m in moments[judged + 1 : -1]] == [(i + 1, STEPS) for i in range(STEPS)]


def test_the_page_s_line_up_is_the_library_s_and_alters_no_answer(whole, tmp_path):
    (here, shown), run, _ = whole
    pair, config = PAIRS.get(open_models(run.requested_models())), run.settings.config()
    parts = [
        [decode_picture(s.data, s.name, pair.resolution) for s in part] for part in (run.pictures(), run.controls())
    ]
    result = authenticate(pair, *parts, config=config, embedders=work.embedders())
    record = write_evidence(result, tmp_path / "out", models_record(open_models(run.requested_models())))
    assert here["record"]["lineup"] == to_json(record.lineup) and len(result.panels_by_round) == 2
    written = {p.name: p.read_bytes() for p in (tmp_path / "out" / "lineup").iterdir()}
    assert shown == written | {LINEUP: (tmp_path / "out" / LINEUP).read_bytes()} and len(written) == 2 * 3 * 3
    plain = begun(pictures=2, lineup=0)
    list(execute_run(plain))
    without, same = found(plain), ("pictures", "set", "control_scores")
    assert without["images"] == here["images"]
    assert [without["record"][k] for k in same] == [here["record"][k] for k in same]


@pytest.mark.parametrize("stops", [("judged",), ("decoys", 1), ("decoys", 3)], ids=str)
def test_a_run_that_is_put_down_among_its_decoys_ends_as_if_it_had_not_been(whole, monkeypatch, stops):
    monkeypatch.setattr(work, "PREVIEW_SECONDS", 0.0)
    run = begun(pictures=2)
    with closing(execute_run(run)) as moments:
        next(m for m in moments if (m.phase, m.done)[: len(stops)] == stops)
    kept = run.progress()
    assert kept.steps == STEPS and not run.is_finished
    assert kept.decoy_steps == (stops[1] if len(stops) > 1 else 0)
    assert kept.plan.lineup == lineup_of(whole[1].record())
    stopped = run.record().stopped
    assert stopped == StoppedRecord(step=kept.decoy_steps, of=STEPS, decoys=True)
    again = [m for m in execute_run(run) if m.phase in ("step", "decoys")]
    assert [m.phase for m in again] == ["decoys"] * (STEPS - stopped.step)
    assert all_found(run) == whole[0]


def test_the_answer_is_shown_while_the_decoys_are_recovered(monkeypatch):
    monkeypatch.setattr(background, "runs_go_on_alone", lambda: False)  # it is put down when nobody watches
    visitor = Visit()
    name = judging.begin(wish(), visitor.token, "en")["pending"]
    with closing(judging.go_on(visitor.token, name, "en", None)) as views:
        judged = next(v for v in views if "Recovering the decoys" in v.get("progress", ""))
        assert "Cannot tell" in judged["answer"]
        files = re.findall(r'src="/gradio_api/file=([^"]+)"', judged["pictures"])
        assert len(files) == len(ROLES) and all(os.path.isfile(file) for file in files)
        assert f"step 1 of {STEPS}" in next(views)["progress"]
    stopped = judging.stop(visitor.token, name, "en")
    assert "Cannot tell" in stopped["answer"] and stopped["resume"]["visible"]
    assert f"stopped at step 0 of {STEPS}" in stopped["progress"] and not stopped["observe"]["visible"]
    back = judging.arrive(visitor.token, "en")
    assert back["current"] == name and back["resume"]["visible"] and back["answer"] == stopped["answer"]
    *_, answer, _ = judging.go_on(visitor.token, name, "en", None)
    assert answer["observe"]["visible"] and "cannot be the observer" in answer["about_lineup"]
    assert answer["sheet"]["value"].endswith(LINEUP) and os.path.isfile(answer["sheet"]["value"])


def key_of(run):
    return [r.letter for r in lineup_of(run.record()).rounds]


def everything_shown(run, visitor, picks):
    """Go through the rounds with these picks, to the last: the state, and all views on the way."""
    state, view = choosing.open_lineup(visitor.token, run.name, "en")
    views = [view]
    for pick in picks[:-1]:
        state, view = choosing.turn(visitor.token, state, pick, 1, "en")
        views.append(view)
    return state, views


@pytest.fixture
def finished():
    visitor = Visit()
    run = begun(visitor, pictures=2, steps=1)
    list(execute_run(run))
    return visitor, run


def test_an_observer_sees_nothing_but_rounds_and_letters(finished):
    visitor, run = finished
    _, views = everything_shown(run, visitor, "AA")
    names = [p.name for p in (*run.pictures(), *run.controls())]
    for number, view in enumerate(views, 1):
        said = repr(view)
        assert not [n for n in (*names, run.name, visitor.token, "Cannot tell", "0.0") if n in said]
        reader = Reader(view["round"])
        images = [(a["src"], a["alt"]) for tag, a in reader.elements if tag == "img"]
        expected = [(letter, role) for letter in "ABC" for role in ROLES]
        assert [src for src, _ in images] == [
            f"/gradio_api/file={run.lineup_dir}/{panel_name(number, letter, role)}" for letter, role in expected
        ]
        assert [alt[0] for _, alt in images] == [letter for letter, _ in expected]
        assert [c for _, c in view["pick"]["choices"]] == ["A", "B", "C", "-"] and view["pick"]["value"] is None
        assert f"Round {number} of 2" in reader.text and view["done"]["visible"] == (number == 2)
    assert run.choices() == []


def test_a_choice_is_judged_once_kept_and_shown_again(finished):
    visitor, run = finished
    key = key_of(run)
    wrong = next(c for c in "ABC" if c != key[1])
    picks = [key[0], wrong]
    state, _ = everything_shown(run, visitor, picks)
    state, view = choosing.finish(visitor.token, state, wrong, "en")
    judged = judge_lineup(lineup_of(run.record()), picks)
    told = Reader(view["round"]).text
    assert judged.hits == 1 and f"p\xa0=\xa0{judged.p_value:.3g}" in told
    assert "Right choices: 1 of 2" in told and run.choices() == [picks]
    assert not view["pick"]["visible"] and not view["done"]["visible"]
    for again in (
        lambda: choosing.finish(visitor.token, state, key[1], "en"),
        lambda: choosing.turn(visitor.token, state, key[1], -1, "en"),
    ):
        with pytest.raises(gr.Error, match="cannot be changed"):
            again()
    shown = judging.show(visitor.token, run.name, "de")
    assert (
        "Richtige Wahlen: 1 von 2" in shown["about_lineup"]
        and shown["observe"]["value"] == "Eine andere Person wählen lassen"
    )
    state, _ = everything_shown(run, visitor, key)
    choosing.finish(visitor.token, state, key[1], "en")
    both = Reader(judging.show(visitor.token, run.name, "en")["about_lineup"]).text
    assert run.choices() == [picks, key] and "not added up" in both
    assert "Right choices: 1 of 2" in both and "Right choices: 2 of 2" in both


def test_whoever_has_the_zip_counts_the_same(finished, capsys):
    _, run = finished
    key = key_of(run)
    assert main(["lineup", str(run.public_dir / "evidence.zip"), f"--picks={key[0]},-"]) == 0
    p = judge_lineup(lineup_of(run.record()), [key[0], "-"]).p_value
    said = capsys.readouterr().out
    assert "1 of 2" in said and f"{p:.2g}" in said


def test_a_round_without_a_choice_is_not_passed(finished):
    visitor, run = finished
    state, _ = choosing.open_lineup(visitor.token, run.name, "en")
    for pick in (None, "", "D", "<b>", ["A"]):
        with pytest.raises(gr.Error, match="No choice was made in this round"):
            choosing.turn(visitor.token, state, pick, 1, "en")
        with pytest.raises(gr.Error, match="No choice was made in this round"):
            choosing.finish(visitor.token, state, pick, "en")
    with pytest.raises(gr.Error, match="No choice was made in this round"):
        choosing.finish(visitor.token, state, "A", "en")  # the second round was never seen
    state, _ = choosing.turn(visitor.token, state, "B", 1, "en")
    state, view = choosing.turn(visitor.token, state, None, -1, "en")
    assert state.picks == ("B",) and view["pick"]["value"] == "B" and run.choices() == []
    for token, name in ((Visit().token, run.name), (visitor.token, "0" * 32)):
        with pytest.raises(gr.Error, match="no longer there"):
            choosing.open_lineup(token, name, "en")


def test_the_line_up_s_address_is_not_the_run_s_and_goes_with_it(root, finished):
    visitor, run = finished
    assert re.fullmatch("[0-9a-f]{32}", run.lineup_dir.name) and run.lineup_dir.name != run.name
    assert {p.name for p in run.lineup_dir.iterdir()} == {LINEUP, "lineup"}
    with zipfile.ZipFile(run.public_dir / "evidence.zip") as evidence:
        stated = set(json.loads(evidence.read("manifest.json"))["sha256"])
        assert LINEUP in stated and "lineup/1-A-recovered.png" in stated
        assert json.loads(evidence.read("result.json"))["lineup"] == to_json(run.record().lineup)
    used = run.private_dir.parent / "used"
    for folder in (run.public_dir, run.lineup_dir):
        os.utime(folder, (0, 0))
    sweep(used.stat().st_mtime + visit.LIFETIME - 60)
    assert run.lineup_dir.is_dir() and run.public_dir.is_dir()
    visitor.forget()
    assert [p for p in root.rglob("*") if p.is_file()] == []


REFUSED = (
    ({"lineup": 1}, "page.lineup", {"given": "1", "smallest": 2, "largest": 20}),
    ({"lineup": 21}, "page.lineup", {"given": "21"}),
    ({"lineup": 2.5}, "page.lineup", {"given": "2.5"}),
    ({"lineup": float("nan")}, "page.lineup", {"given": "nan"}),
    ({"lineup": "6"}, "page.lineup", {"given": "'6'"}),
    ({"lineup": 10**400}, "page.lineup", {}),
    ({"lineup": 8}, "judging.lineup.few_controls", {"size": 8, "given": 6, "need": 7}),
    ({"controls": [CONTROLS[0], *CONTROLS[:2]], "lineup": 4}, "judging.lineup.few_controls", {"given": 2}),
    ({"controls": CONTROLS[:1], "pictures": CONTROLS[:1]}, "judging.lineup.few_controls", {"given": 0}),
)


@pytest.mark.parametrize(("other", "code", "params"), REFUSED, ids=lambda value: str(value)[-40:])
def test_a_line_up_that_cannot_be_is_one_sentence_before_anybody_waits(root, other, code, params):
    asked = dataclasses.replace(wish(), **other)
    field = "settings" if code == "page.lineup" else "controls"
    check_refused(judging.begin(asked, Visit().token, "en"), field, asked, code, **params)
    assert not root.exists()


def test_a_bank_has_no_pictures_to_show(tmp_path):
    bank = write_bank(tmp_path / "bank.json")
    with refuses("page.bank_and_lineup"):
        wish(bank=bank, controls=()).check()


def test_what_a_line_up_costs_is_said_before_the_run():
    config = make_config("fast", 0, lineup=6)
    step = 2 * config.recovery.steps * config.recovery.draws
    plain = make_config("fast", 0)
    assert count_parts(1, 40, config).decoys == 5 * step and count_parts(1, 40, plain).decoys == 0
    assert count_parts(1, 40, config).total == count_parts(1, 40, plain).total + 5 * step
    assert count_parts(3, 12, config).total == count_parts(3, 12, plain).total + 10 * step
    wish = {"suspect": f"shipped:{SUSPECTS[0]}", "picture": [str(pictures_of(SUSPECTS[0], "member")[0])]}
    cost = cost_of(count_parts(1, 40, config))
    said = cost_html("en", seconds=cost.seconds, answer_seconds=cost.answer_seconds, kind=cost.kind)
    assert cost_view(wish | {"preset": "fast", "lineup": 6}, "en")["cost"] == said


def test_a_chunk_asks_for_what_it_does():
    run = begun(pictures=2)
    models, config = open_models(run.requested_models()), run.settings.config()
    whole = work.GpuJob(
        models=models,
        pictures=tuple(run.pictures()),
        controls=tuple(run.controls()),
        config=config,
        progress=RunProgress(),
    )
    row = 2 * config.recovery.draws
    mirror = 2 * 2 * config.mirror_draws  # two pictures and their mirror images
    assert whole.evaluations() == round(2 * (8 * config.loss_draws + mirror) / 3) + row * STEPS * (2 + 4)
    upright = io.BytesIO()
    Image.new("RGB", (200, 300)).save(upright, "PNG")
    first, *others = whole.pictures
    twice = dataclasses.replace(whole, pictures=(dataclasses.replace(first, data=upright.getvalue()), *others))
    more = 2 * (8 * config.loss_draws + 2 * config.mirror_draws) / 3  # every picture and control in one more view
    assert twice.uneven == 1 and twice.evaluations() == pytest.approx(whole.evaluations() + more, abs=1)
    jobs = []

    def note(job):
        jobs.append((job.steps, job.rows, job.progress.steps, job.evaluations()))
        return work.work(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "work", note)
        patch.setattr(running.hardware, "kind", lambda: "zero")
        patch.setattr(running.hardware, "SECONDS_PER_REQUEST", 0)
        list(execute_run(begun(pictures=2)))
    steps, rows, before, evaluations = zip(*jobs, strict=True)
    assert steps == (1,) * 2 * STEPS and rows == (2,) * STEPS + (4,) * STEPS
    assert before == (0, 1, 2, 3, *[STEPS] * STEPS)
    # of the mirror test, the controls and the pictures first; of the pictures again where the run ends
    forward = [8 * config.loss_draws + mirror, 0, 0, 2 * config.loss_draws]
    scoring = [round(2 * n / 3) for n in forward]
    assert evaluations == (*[2 * row + n for n in scoring], *[4 * row] * STEPS)


def test_the_page_raises_what_the_command_line_raises_of_controls_of_another_kind(tmp_path):
    """The flag needs the controls' own pictures, which do not travel with the result."""
    members = [str(p) for p in (*pictures_of(SUSPECTS[0], "member"), *pictures_of(SUSPECTS[0], "holdout"))][:12]
    others = []
    for number, path in enumerate(pictures_of(SUSPECTS[0], "control")[:12]):
        others.append(str(tmp_path / f"{number}.png"))
        ImageOps.invert(Image.open(path).convert("L")).save(others[-1])
    asked = page_runs.request(steps=1, controls=others)
    run = dataclasses.replace(asked, pictures=members).begin(Visit())
    updates = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "work", lambda job: (updates.append(u) or u for u in work.work(job)))
        list(execute_run(run))
    assert updates[-1].phase == "finished" and all(u.result is None or u.result.controls == () for u in updates)
    kept = [u.progress.judged for u in updates if u.progress is not None]
    assert kept[-1] is not None and all(judged is None or judged.controls == () for judged in kept)
    pair = PAIRS.get(open_models(run.requested_models()))
    parts = [
        [decode_picture(s.data, s.name, pair.resolution) for s in part] for part in (run.pictures(), run.controls())
    ]
    result = authenticate(pair, *parts, config=run.settings.config(), embedders=work.embedders())
    raised = [
        [f["name"] for f in p["flags"]] for p in json.loads((run.public_dir / "result.json").read_text())["pictures"]
    ]
    assert raised == [[f.name for f in p.flags] for p in result.pictures]
    assert all("shifted_controls" in names for names in raised)


def test_each_panel_shows_the_picture_that_the_key_says(whole):
    (_, shown), run, _ = whole
    side = PAIRS.get(open_models(run.requested_models())).resolution
    for number, r in enumerate(lineup_of(run.record()).rounds, 1):
        stand = r.in_order(run.pictures()[r.picture], [run.controls()[i] for i in r.decoys])
        for letter, sent in zip("ABC", stand, strict=True):
            image = Image.open(io.BytesIO(shown[Path(panel_name(number, letter, "original")).name]))
            np.testing.assert_array_equal(np.asarray(image), to_uint8(decode_picture(sent.data, sent.name, side).image))
