"""A run of the page that is put down, killed, deleted or refused: it goes on to the same end, or is gone for good."""

import dataclasses
import multiprocessing
import os
import re
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from cgidm.page.handlers import runs as judging
from cgidm.page.handlers.examples import example_names, show_example
from cgidm.page.handlers.form import stale_view
from cgidm.page.handlers.request import MAX_TOGETHER, Request
from cgidm.page.handlers.suspect import look_up
from cgidm.page.runs import background
from cgidm.page.runs import runner as running
from cgidm.page.runs import store as visit
from cgidm.page.runs.runner import execute_run
from cgidm.page.runs.shipped_controls import default_controls
from cgidm.page.runs.store import Visit, sweep
from cgidm.pictures.images import MAX_BYTES
from cgidm.run.events import RunEvent
from tests.support.errors import refuses
from tests.support.page_records import Reader
from tests.support.page_runs import STEPS, broken_run, check_refused, found, new_run, request
from tests.support.paths import EXAMPLES, SUSPECTS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_models")]
NOT_SHIPPED, NOT_ON_HUB = "resources.unknown_model", "intake.no_repository_named"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "ROOT", tmp_path / "visits")
    return tmp_path / "visits"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run finds that nobody interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visit, "ROOT", tmp_path_factory.mktemp("visits"))
        run = new_run()
        *_, last = execute_run(run)
        assert last.phase == "finished"
        return found(run)


def sit_through(run, moments):
    """Follow a run for so many moments, and leave."""
    with closing(execute_run(run)) as watched:
        return [moment for moment, _ in zip(watched, range(moments), strict=False)]


@pytest.mark.parametrize("sittings", [(1,), (4,), (8,), (3, 6, 5)])
def test_a_run_that_is_put_down_ends_as_if_it_had_not_been(whole, sittings):
    run = new_run()
    for moments in sittings:
        assert sit_through(run, moments)[-1].phase != "finished"
        assert not run.is_finished and not run.is_locked
    *_, last = execute_run(run)
    assert last.phase == "finished" and found(run) == whole


def test_a_run_whose_server_is_killed_goes_on_from_what_it_wrote(whole, monkeypatch):
    monkeypatch.setattr(running, "SAVE_SECONDS", 0.0)
    run = new_run()

    def begin_and_die():
        for moment in execute_run(run):
            if moment.done == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=begin_and_die)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.setattr(visit, "PROCESS", "the next server")
    assert not run.is_locked  # it was killed before it could say so
    kept = run.progress()
    assert 0 < kept.steps < STEPS and len(kept.control_scores) == 2 and kept.seconds > 0
    assert next(m.done for m in execute_run(run) if m.phase in ("step", "preview")) == kept.steps
    list(execute_run(run))
    assert found(run) == whole


@pytest.mark.parametrize("left", ['{"pictures": [', None])
def test_evidence_that_is_half_written_is_no_result(whole, left):
    run = new_run()
    list(execute_run(run))
    if left is None:
        (run.public_dir / "evidence.zip").unlink()  # it is written last
    else:
        (run.public_dir / "result.json").write_text(left)
    assert not run.is_finished and run.record() is None
    assert judging.show("", run.name, "en") == {}
    list(execute_run(run))
    assert found(run) == whole


def test_what_a_visitor_deletes_in_mid_run_does_not_come_back(root):
    visitor = Visit()
    run = request(steps=40).begin(visitor)
    with closing(execute_run(run)) as watched:
        assert next(m for m in watched if m.phase in ("step", "preview"))
        visitor.forget()
        assert list(watched) == []
    assert [p for p in root.rglob("*") if p.is_file()] == []


def test_sweeping_deletes_every_visit_an_hour_after_its_last_use(root, tmp_path):
    for _ in range(2):
        run = new_run(steps=1)
        list(execute_run(run))
    stray, part = root / "shown" / ("0" * 32), tmp_path / "tmp_upload"
    stray.mkdir()
    part.write_bytes(b"half of an upload")
    used = run.private_dir.parent / "used"
    sweep(used.stat().st_mtime + visit.LIFETIME - 60, tmp_path)
    assert run.is_finished and stray.is_dir() and part.is_file()
    sweep(used.stat().st_mtime + visit.LIFETIME + 60, tmp_path)
    assert [p for p in root.rglob("*") if p.parent != root] == [] and not part.exists()


def test_sweeping_goes_on_by_itself(monkeypatch, tmp_path):
    swept = threading.Semaphore(0)
    monkeypatch.setattr(visit, "sweep", lambda uploads: swept.release())
    ended = visit.keep_sweeping(tmp_path, every=0.01)
    assert all(swept.acquire(timeout=10) for _ in range(3))
    ended.set()


def test_a_long_run_is_not_swept_while_it_is_carried_out(monkeypatch):
    monkeypatch.setattr(running, "SAVE_SECONDS", 0.0)
    run = new_run()
    used = run.private_dir.parent / "used"
    os.utime(used, (0, 0))
    list(execute_run(run))
    sweep()
    assert run.is_finished


@pytest.mark.parametrize(
    ("field", "other", "code", "params"),
    [
        ("pictures", {"pictures": 0}, "page.no_picture", {}),
        ("settings", {"seed": float("nan")}, "page.seed", {"given": "nan"}),
        ("settings", {"seed": "1"}, "page.seed", {"given": "'1'"}),
        ("settings", {"steps": 10**400}, "page.steps", {"largest": 2000}),
        ("settings", {"preset": None}, "page.preset", {"given": "None", "accepted": ("fast", "paper")}),
        ("settings", {"prompt": "x" * 501}, "page.prompt_too_long", {"given": 501, "most": 500}),
        ("base", {"base": ""}, "page.no_base", {}),
        ("suspect", {"suspect": " "}, "page.no_suspect", {}),
        ("suspect", {"suspect": "shipped:../../etc", "controls": ()}, NOT_SHIPPED, {}),
        ("suspect", {"suspect": "/etc/passwd"}, NOT_ON_HUB, {}),
        ("suspect", {"suspect": "a/b/model.ckpt"}, "intake.pickle", {}),
        ("unrelated", {"unrelated": "/etc/passwd"}, NOT_ON_HUB, {}),
        ("controls", {"controls": ["x.png"] * 101}, "page.control_count", {"given": 101, "most": 100}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_wish_is_one_sentence_beside_its_field_before_anybody_waits(root, field, other, code, params):
    wish = request(**other)
    check_refused(judging.begin(wish, Visit().token, "en"), field, wish, code, **params)
    assert not root.exists()


def test_a_refusal_is_said_in_the_visitor_s_language():
    view = judging.begin(request(base=""), Visit().token, "de")
    assert "Erwartet wird ein Basismodell" in view["error.base"] and 'lang="de"' in view["error.base"]


def test_the_name_of_a_shipped_suspect_is_no_way_into_a_folder_of_the_server_s():
    assert len(default_controls(f"shipped:{SUSPECTS[0]}")) == 40
    for name in ("../mini", "../../page", "/etc", "", "."):
        assert default_controls(f"shipped:{name}") == []


def test_pictures_that_are_too_much_together_are_refused(tmp_path):
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(MAX_TOGETHER // 10)
    controls = sum(Path(path).stat().st_size for path in request().controls)
    with refuses("page.pictures_too_large", bytes=11 * (MAX_TOGETHER // 10) + controls, most=MAX_TOGETHER):
        dataclasses.replace(request(), pictures=[str(large)] * 11).check()


def test_a_picture_that_is_too_large_is_refused_unread(tmp_path):
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with refuses("page.picture_too_large", file="large.png", bytes=MAX_BYTES + 1, most=MAX_BYTES):
        dataclasses.replace(request(), pictures=[str(large)]).check()


def test_a_picture_that_turns_out_to_be_none_ends_its_run_with_one_sentence():
    visitor = Visit()
    run = broken_run(visitor)
    *_, last = judging.go_on(visitor.token, run.name, "en", None)
    assert 'role="alert"' in last["progress"] and "mine.png is " in last["progress"]
    assert not run.is_locked and not last["stop"]["interactive"]


def views_of(visitor, wish: Request):
    """All views from the button to the answer."""
    first = judging.begin(wish, visitor.token, "en")
    return [first, *judging.go_on(visitor.token, first["pending"], "en", None)]


@pytest.fixture(params=[True, False], ids=["alone", "watched"])
def alone(request, monkeypatch):
    """Runs go on by themselves, or, as on ZeroGPU, while somebody watches."""
    monkeypatch.setattr(background, "runs_go_on_alone", lambda: request.param)
    return request.param


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("pictures", [1, 2])
def test_a_visitor_sees_a_run_from_the_button_to_the_answer(pictures):
    visitor = Visit()
    views = [view for view in views_of(visitor, request(steps=2, pictures=pictures)) if view]
    assert "Step 1 of 2" in "".join(v.get("progress", "") for v in views)
    shares = [int(n) for v in views for n in re.findall(r'<progress max="100" value="(\d+)"', v.get("progress", ""))]
    assert shares == sorted(shares) and shares[-1] > shares[0]
    last = views[-2]
    assert "Cannot tell" in last["answer"] and len(views[-1]["history"]["choices"]) == 1
    files = re.findall(r'src="/gradio_api/file=([^"]+)"', last["pictures"])
    assert len(files) >= 3 * pictures and all(os.path.isfile(file) for file in files)
    assert last["seal"] == (visitor.runs()[0].public_dir / "seal.txt").read_text().split()[0]
    name = views[0]["current"]
    again = judging.show(visitor.token, name, "de")
    assert name == again["current"] and "answer" in again and again["stale"] == ""
    back = judging.arrive(visitor.token, "en")
    assert back["current"] == name and back["pending"] == "" and "Cannot tell" in back["answer"]
    assert visitor.token not in repr([*views, again, back])


def test_a_visitor_stops_comes_back_and_goes_on(whole, alone):
    visitor = Visit()
    name = judging.begin(request(), visitor.token, "en")["current"]
    with closing(judging.go_on(visitor.token, name, "en", None)) as views:
        seen = []
        while not any("Step 1 of" in view.get("progress", "") for view in seen):
            seen.append(next(views))
    stopped = judging.stop(visitor.token, name, "en")
    if not visitor.find(name).is_finished:  # a run that goes on alone may be quicker than its watcher
        assert "Stopped at step" in stopped["answer"] and stopped["resume"]["visible"]
        back = judging.arrive(visitor.token, "en")
        assert back["current"] == name and back["resume"]["visible"] and back["pending"] == ""
    answer = [view for view in judging.go_on(visitor.token, name, "en", None) if "answer" in view][-1]
    run = visitor.find(name)
    assert run is not None and found(run) == whole and "Cannot tell" in answer["answer"]
    assert visitor.token not in repr([*seen, stopped, answer])


def test_a_run_goes_on_when_nobody_watches_and_others_may_watch_it(whole):
    visitor = Visit()
    name = judging.begin(request(), visitor.token, "en")["pending"]
    with closing(judging.go_on(visitor.token, name, "en", None)) as views:
        next(views), next(views)  # it has begun; then the tab is closed
    watchers = [judging.go_on(visitor.token, name, "en", None) for _ in range(2)]
    answers = [[view["answer"] for view in views if view.get("answer")][-1] for views in watchers]
    assert answers[0] == answers[1] and "Cannot tell" in answers[0]
    assert found(visitor.find(name)) == whole and not background.is_going_on(visitor.find(name))


def test_a_run_whose_page_was_closed_before_its_start_begins_at_the_next_visit_unless_it_was_stopped():
    visitor = Visit()
    name = judging.begin(request(), visitor.token, "en")["pending"]
    assert judging.arrive(visitor.token, "en")["pending"] == name
    judging.stop(visitor.token, name, "en")
    back = judging.arrive(visitor.token, "en")
    assert back["pending"] == "" and back["resume"]["visible"]
    run = visitor.find(name)
    with run.lock():
        assert not run.is_stopped


def test_runs_take_turns_in_the_order_in_which_they_came(monkeypatch):
    order, begun_at_once = [], []

    def execute(run, token):
        begun_at_once.append(run.name)
        assert len(begun_at_once) - len(order) == 1  # one at a time
        yield RunEvent(phase="loading")
        time.sleep(0.05)
        order.append(run.name)

    monkeypatch.setattr(background, "execute_run", execute)
    runs = [new_run() for _ in range(4)]
    jobs = []
    for run in runs:
        jobs.append(background.RunThread(run, None))
        time.sleep(0.02)
    assert all(job.over.wait(20) for job in jobs) and order == [run.name for run in runs]


def test_a_run_that_waits_for_its_turn_can_be_stopped(monkeypatch):
    with background.LINE.wait() as mine:
        run = new_run()
        job = background.RunThread(run, None)
        job.stop()
        assert mine and job.over.wait(10)
    assert not run.is_finished and not run.is_locked


def test_the_form_comes_back_with_the_answer_and_an_answer_to_another_form_is_marked():
    """Over a reload, the history and a second tab: what is shown is filled in from the run itself."""
    visitor = Visit()
    first = request(steps=None, pictures=2, unused="same", prompt="one", seed=7)
    second = request(steps=None, suspect=f"shipped:{SUSPECTS[1]}", controls=(), prompt="two")
    names = []
    for wish in (first, second):
        names.append(wish.begin(visitor).name)
        time.sleep(0.01)
    assert judging.arrive(visitor.token, "en")["current"] == names[1]
    for name, wish in zip(names, (first, second), strict=True):
        view = judging.show(visitor.token, name, "en")
        assert {k: view[k] for k in ("suspect", "base", "prompt", "seed", "unused")} == {
            k: getattr(wish, k) for k in ("suspect", "base", "prompt", "seed", "unused")
        }
        for field, paths in (("picture", wish.pictures), ("controls", wish.controls)):
            given, back = ([(Path(p).name, Path(p).read_bytes()) for p in part or ()] for part in (paths, view[field]))
            assert given == back
        for other in names:
            said = stale_view(view, visitor.token, other, "en")["stale"]
            assert bool(said) == (other != name)
        for change in ({"prompt": "x"}, {"seed": 99}, {"picture": view["picture"][:-1]}, {"unused": "later"}):
            assert stale_view(view | change, visitor.token, name, "en")["stale"]
    assert stale_view(view, visitor.token, "", "en")["stale"] == "" == stale_view(view, "x", names[0], "en")["stale"]


def test_an_example_is_marked_as_another_answer_when_its_form_is_changed():
    for name in example_names():
        view = show_example(name, "en")
        assert stale_view(view, "", view["current"], "en")["stale"] == ""
        assert stale_view(view | {"base": "a/b"}, "", view["current"], "en")["stale"]


@pytest.mark.parametrize("token", [None, "", "x", "../private", "A" * 32])
def test_another_visit_finds_nothing(token):
    visitor = Visit()
    views = views_of(visitor, request(steps=1))
    name = views[0]["current"]
    assert Visit(token).find(name) is None and Visit(token).runs() == []
    assert judging.show(token, name, "en") == {} == judging.stop(token, name, "en")
    assert judging.arrive(token, "en")["history"]["choices"] == []
    assert "no longer there" in next(judging.go_on(token, name, "en", None))["progress"]
    assert visitor.find(f"../{name}") is None and visitor.find(name) is not None


def test_a_visitor_learns_what_a_model_file_is(tmp_path):
    path = tmp_path / "secret-folder" / "rollandin.safetensors"
    path.parent.mkdir()
    notes = {"ss_tag_frequency": '{"10_sks style": {}}', "ss_sd_model_name": "<b>v1-5</b>\x1b[31m"}
    save_file(load_file(EXAMPLES / SUSPECTS[1] / "checkpoint" / "pytorch_lora_weights.safetensors"), path, notes)
    view = look_up("", [str(path)], None, "en", None)
    card = view["card"]
    Reader(card)
    assert "LoCon" in card and "upload/rollandin.safetensors" in card
    assert "secret-folder" not in card and "\x1b" not in card and "<b>" not in card
    assert view["prompt"] == "sks style" and view["framing"].metadata == notes


def test_forgetting_deletes_everything_at_once(root):
    visitor, other = Visit(), Visit()
    for visit_ in (visitor, other):
        views_of(visit_, request(steps=1))
    kept = {p for p in root.rglob("*") if p.is_file() and p.is_relative_to(other.folder)}
    view = judging.forget(visitor.token, "en")
    assert view["current"] == "" and view["answer"] == "" and view["history"]["choices"] == []
    assert not visitor.folder.exists() and len(list((root / "shown").iterdir())) == 1
    assert all(path.is_file() for path in kept) and visitor.token not in repr(view)


def test_a_form_that_is_emptied_brings_no_name_of_a_deleted_file_back(root, tmp_path, monkeypatch):
    monkeypatch.setattr("cgidm.page.handlers.uploads.get_upload_folder", lambda: str(tmp_path))
    sent, visitor = tmp_path / "copy" / "mine.png", Visit()
    sent.parent.mkdir()
    sent.touch()
    judging.remember(visitor.token, [str(sent)])
    assert visitor.uploads() == {str(sent)}
    judging.forget(visitor.token, "en")
    judging.remember(visitor.token, [str(sent)])
    assert not sent.exists() and not visitor.folder.exists()


def test_what_is_kept_of_a_visit_does_not_name_its_token(root):
    visitor = Visit()
    views_of(visitor, request(steps=1))
    for path in root.rglob("*"):
        assert visitor.token not in str(path)
        assert path.is_dir() or visitor.token.encode() not in path.read_bytes()
