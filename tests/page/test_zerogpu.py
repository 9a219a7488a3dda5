"""The page where a GPU is lent for seconds (ZeroGPU): every chunk in a fork, and all that crosses is pickled."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import gradio as gr
import pytest

from cgidm import UserError
from cgidm.messages import note
from cgidm.page.runs import hardware
from cgidm.page.runs import runner as running
from cgidm.page.runs import store as visit
from cgidm.page.runs.gpu_worker import GpuJob, requested_seconds, work
from cgidm.page.runs.model_cache import PAIRS, open_models
from cgidm.page.runs.runner import execute_run
from cgidm.page.runs.settings import make_config
from cgidm.page.runs.store import Visit
from cgidm.page.ui import api
from cgidm.pictures.images import decode_picture
from cgidm.run.events import RunEvent, RunProgress
from cgidm.run.recoveries import Recoveries
from tests.support.page_runs import STEPS, broken_run, found, new_run, request
from tests.support.paths import ROOT, SUSPECTS, pictures_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("small_models"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "ROOT", tmp_path / "visits")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run finds in one piece and one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visit, "ROOT", tmp_path_factory.mktemp("visits"))
        run = new_run()
        list(execute_run(run))
        return found(run)


def serve(connection, job):
    """The worker: what it yields, pickled; of an error no more than its class, unless it is one of gradio's."""
    try:
        for update in work(pickle.loads(job)):
            connection.send_bytes(pickle.dumps(update))
        connection.send_bytes(pickle.dumps(None))
    except gr.Error as error:
        connection.send_bytes(pickle.dumps(error))
    except Exception as error:
        connection.send_bytes(pickle.dumps(gr.Error(type(error).__name__, title="ZeroGPU worker error")))


class Lender:
    """Stands for `spaces.GPU`: forks for each chunk, and refuses the chunks that `refused` names."""

    def __init__(self, refused=()):
        self.jobs, self.refused = [], dict(refused)

    def __call__(self, job):
        self.jobs.append(job)
        if error := self.refused.pop(len(self.jobs), None):
            raise error
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, pickle.dumps(job)), daemon=True)
        process.start()
        try:
            while (got := pickle.loads(here.recv_bytes())) is not None:
                if isinstance(got, Exception):
                    raise got
                assert isinstance(got, RunEvent)
                yield got
        finally:
            process.kill()
            process.join()


@pytest.fixture
def lent(monkeypatch):
    """ZeroGPU that lends a GPU for one step at a time, and refuses as the test says."""

    def lend(refused=()):
        lender = Lender(refused)
        monkeypatch.setattr(running, "work", lender)
        monkeypatch.setattr(hardware, "kind", lambda: "zero")
        monkeypatch.setattr(hardware, "SECONDS_PER_REQUEST", 0)
        return lender

    return lend


def test_chunks_in_forked_processes_end_as_one_run_in_one_process(whole, lent):
    lender, run = lent(), new_run()
    *_, last = execute_run(run)
    assert last.phase == "finished" and found(run) == whole
    assert [job.steps for job in lender.jobs] == [1] * STEPS
    assert [places(job)[0] for job in lender.jobs] == list(range(STEPS))
    assert all(len(job.progress.control_scores) == 2 for job in lender.jobs[1:])


def places(job):
    """Where a sitting begins: steps of the pictures, and of the decoys."""
    return job.progress.steps, job.progress.decoy_steps


def test_a_line_up_s_decoys_are_recovered_in_chunks_too(lent):
    controls = [str(path) for path in pictures_of(SUSPECTS[0], "control")[:4]]
    wish = request(steps=3, controls=controls, lineup=3)
    plain = wish.begin(Visit())
    list(execute_run(plain))
    gone = gr.Error("GPU task aborted", title="ZeroGPU worker error", print_exception=False)
    lender, run = lent({3: gone, 6: gone}), wish.begin(Visit())
    for phase in ("paused", "paused", "finished"):
        *_, last = execute_run(run)
        assert last.phase == phase
    assert found(run) == found(plain)
    shown = [{p.name: p.read_bytes() for p in r.lineup_dir.rglob("*.*")} for r in (plain, run)]
    assert shown[0] == shown[1] and len(shown[0]) == 1 + 3 * 3
    assert [places(job) for job in lender.jobs] == [(0, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, 1), (3, 1), (3, 2)]
    assert [job.progress.judged is not None for job in lender.jobs] == [False] * 4 + [True, True, False, True]


def test_an_unrelated_model_scores_before_the_recovery_and_at_its_end(lent):
    wish = request(steps=2, unrelated=f"shipped:{SUSPECTS[1]}")
    plain = wish.begin(Visit())
    list(execute_run(plain))
    lender, run = lent(), wish.begin(Visit())
    list(execute_run(run))
    assert found(run) == found(plain) and [job.judges for job in lender.jobs] == [True, True]
    assert run.record().models.unrelated.startswith(f"shipped:{SUSPECTS[1]}")


REFUSALS = (
    ("ZeroGPU quota exceeded", "You have exceeded your GPU quota (60s requested vs. 5s left).", "quota"),
    ("ZeroGPU illegal duration", "The requested GPU duration (600s) is larger than the maximum allowed", "quota"),
    ("ZeroGPU queue timeout", "No GPU was available after 60s", "busy"),
    ("ZeroGPU worker error", "GPU task aborted", "aborted"),
)


def test_a_refused_gpu_pauses_the_run_and_loses_nothing(whole, lent):
    """Every other chunk of one run is refused, each time for another reason; the first before anything was computed."""
    refused = [gr.Error(said, title=title, print_exception=False) for title, said, _ in REFUSALS]
    lent({2 * n + 1: error for n, error in enumerate(refused)})
    run = new_run()
    for steps, (_, _, trouble) in enumerate(REFUSALS):
        *_, last = execute_run(run)
        kept = run.progress()
        assert (last.phase, last.trouble, last.done) == ("paused", trouble, steps) and not run.is_locked
        if steps == 0:
            assert not kept.states
        else:
            assert kept.states and kept.steps == steps and len(kept.control_scores) == 2
    *_, last = execute_run(run)
    assert last.phase == "finished" and found(run) == whole


def test_a_program_is_told_that_no_gpu_was_to_be_had(lent):
    lent({1: gr.Error("60s requested", title="ZeroGPU quota exceeded", print_exception=False)})
    wish = request()
    given = (wish.suspect, None, wish.base, wish.prompt, list(wish.controls), "fast", 0, 1)
    with pytest.raises(gr.Error, match=r"Expected a free GPU, got none \(quota\)"):
        list(api.authenticate(wish.pictures[0], *given))


def test_a_picture_that_is_none_is_said_in_words_across_the_fork(lent):
    lent()
    run = broken_run(Visit())
    with pytest.raises(UserError) as refused:
        list(execute_run(run))
    kind = note("pictures.kind.text", format="TXT")
    assert refused.value.code == "pictures.other_kind" and refused.value.params == {"path": "mine.png", "kind": kind}


def test_what_is_asked_for_grows_with_the_chunk_and_takes_whatever_gradio_adds(monkeypatch):
    # whole seconds are asked for: at the pace of a quick processor different jobs would round to the same
    monkeypatch.setattr("cgidm.page.runs.gpu_worker.PACE.seconds", lambda key: 0.1)
    run = new_run(40)
    models, config = open_models(run.requested_models()), make_config("fast", 0, 40)
    job = GpuJob(
        models=models,
        pictures=tuple(run.pictures()),
        controls=tuple(run.controls()),
        config=config,
        progress=RunProgress(),
    )
    told = {"control_scores": (0.0, 0.0), "answered": True}
    chunk = replace(job, progress=RunProgress(**told), steps=10)
    whole, part = requested_seconds(job, gr.Progress(), progress=None), requested_seconds(chunk)
    assert isinstance(whole, int) and hardware.LOADING < part < whole
    pair = PAIRS.get(models)
    read = [decode_picture(s.data, s.name, pair.framing) for s in job.pictures]
    rest = replace(job, progress=RunProgress(**told, states=Recoveries(pair, read, config).on_cpu()))
    assert part < requested_seconds(pickle.loads(pickle.dumps(rest))) < whole
    checked, checked_part = (requested_seconds(replace(j, unrelated=models)) for j in (job, chunk))
    assert checked >= whole + hardware.LOADING and checked_part == part  # another pair, in a sitting that judges


def ask_python(code, **environment):
    """What a new process prints as JSON after `import app`."""
    run = subprocess.run(
        [sys.executable, "-c", f"import app, json, sys\n{code}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def test_importing_the_page_leaves_the_gpu_alone_and_heavy_libraries_unread():
    code = """
from cgidm.page.runs import hardware  # the order of cgidm.page.launch
from cgidm.page.ui.layout import build_page
import torch
heavy = [m for m in ("diffusers", "transformers", "peft", "accelerate", "open_clip", "timm") if m in sys.modules]
names = list(sys.modules)
print(json.dumps([torch.cuda.is_initialized(), heavy, names.index("spaces") < names.index("torch")]))
"""
    assert ask_python(code) == [False, [], True]


def test_on_zerogpu_the_function_that_needs_the_gpu_is_wrapped_before_the_page_is_served():
    code = """
from cgidm.page.runs import gpu_worker, hardware, runner
print(json.dumps([hasattr(gpu_worker.work, "zerogpu"), runner.work is gpu_worker.work, hardware.kind()]))
"""
    zero = {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:9"}
    assert ask_python(code, **zero) == [True, True, "zero"]
