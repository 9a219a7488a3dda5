"""A whole experiment by its commands: killed at any moment, by any number of workers, it ends in the same bytes."""

import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
from safetensors.torch import load_file, save_file

from cgidm.pictures.embedders import load_embedders
from cgidm.training.trained_model import RECORD, find_checkpoint, find_damage, weight_digests
from eval.__main__ import main
from eval.benchmark.datasets import load_manifest
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import PRESETS, load_experiment
from eval.benchmark.ledger import Ledger
from eval.benchmark.plan import answer_keys, plan_suspects, plan_units
from eval.benchmark.stages import Setting, collect, score_jobs, train_jobs
from tests.support.benchmark_runs import arguments_of, command, finished
from tests.support.errors import refuses
from tests.support.tiny_benchmark import EXPERIMENT, write_experiment

pytestmark = pytest.mark.slow

EMBEDDERS = sorted(load_embedders().ready)
KILLS = 1  # in the suite; `python -m tests.eval.test_benchmark 20` for more, of either kind


def answer_here(capsys, *given, stage="run"):
    """What the command prints in this process, and the refusal that it ends with."""
    refusal = ""
    try:
        main(arguments_of(*given, stage=stage))
    except SystemExit as end:
        refusal = str(end)
    return capsys.readouterr().out + refusal


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def partly_done(folder, name, suspects):
    """The undisturbed run's work, without some suspects of the dataset and without all that they scored."""
    work = shutil.copytree(folder / "one" / "work", folder / name / "work")
    gone = list((work / "suspects" / "art").glob(f"{suspects}-*"))
    for place in gone:
        shutil.rmtree(place)
    with closing(sqlite3.connect(work / "ledger.db")) as db, db:
        deleted = db.execute("DELETE FROM scores WHERE suspect GLOB ?", (f"art/{suspects}*",)).rowcount
    assert gone and deleted
    return work


def killed_again_and_again(folder, name, kills, seconds, rng):
    """Start the same command and kill it at a random moment of its work; every other time its workers too.

    `seconds` is what the whole takes, with one worker. Returns how the processes ended.
    """
    codes = []
    for i in range(kills):
        process, log = command(folder, name, "--workers", 2)
        while len(psutil.Process(process.pid).children(recursive=True)) < 3:  # the pool's server, two workers
            assert process.is_alive(), log.read_text()
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.25) * seconds)
        (os.killpg if i % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.join()
        codes.append(process.exitcode)
    return codes


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The experiment's folder after one run with one worker, and how long that took."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_experiment(folder, datasets={"art": EXPERIMENT["datasets"]["art"]})
    start = time.monotonic()
    main(arguments_of(folder, "one", "--workers", 1))
    return folder, time.monotonic() - start


@pytest.fixture(scope="module")
def stopped(undisturbed):
    """A run with a third of its work ahead was stopped in a training, as Ctrl-C does it, which reaches the workers too.

    Returns what it said, its exit status, and the seconds that it took to end.
    """
    folder, _ = undisturbed
    work = partly_done(folder, "stopped", "cat1")
    process, log = command(folder, "stopped", "--workers", 1)
    while not list(work.rglob("*.tmp")):  # until a suspect is in training
        assert process.is_alive(), log.read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    start = time.monotonic()
    process.join(300)
    return log.read_text(), process.exitcode, time.monotonic() - start


def test_stop_stops_at_once_and_says_how_to_go_on(stopped):
    text, code, seconds = stopped
    assert code == 130 and seconds < 60, text  # by itself, whoever else is at work
    assert "Stopped. Finished work is kept: run the same command again" in text and "Traceback" not in text


def test_two_workers_and_a_run_that_was_stopped_and_killed_give_the_same_bytes(undisturbed, stopped, capsys):
    folder, seconds = undisturbed
    expected = contents(folder / "one" / "out")
    assert {"scores.csv", "scores.parquet", "summary.json", "table.md"} <= expected.keys()
    codes = killed_again_and_again(folder, "stopped", KILLS, seconds / 3, random.Random(0))
    assert codes == [-signal.SIGKILL] * KILLS, "it ended before it was killed"
    text = answer_here(capsys, folder, "stopped", "--workers", 2)
    assert "0 units to score" not in text and contents(folder / "stopped" / "out") == expected
    assert "0 suspects to train" in answer_here(capsys, folder, "stopped", stage="finetune")
    assert "0 units to score" in answer_here(capsys, folder, "stopped", stage="score")


def test_ray_gives_the_same_bytes_though_a_worker_is_killed(undisturbed):
    pytest.importorskip("ray")
    folder, _ = undisturbed
    partly_done(folder, "ray", "cat1-a-lora")
    started = command(folder, "ray", "--engine", "ray", "--workers", 1, one_session=True)
    struck = False
    while started[0].is_alive() and not struck:
        time.sleep(0.05)
        struck = kill_a_ray_worker()
    finished(started)
    assert struck, "the run ended before a worker was seen"
    assert contents(folder / "ray" / "out") == contents(folder / "one" / "out")


def kill_a_ray_worker():
    """Kill one process that is at a job; Ray names it after its task."""
    for entry in Path("/proc").iterdir():
        try:
            if "ray::_stream_job" in (entry / "cmdline").read_text():
                os.kill(int(entry.name), signal.SIGKILL)
                return True
        except (OSError, ValueError):
            continue
    return False


@pytest.fixture
def setting(undisturbed, tmp_path):
    """The undisturbed run, to look at and to damage: (setting, manifest, its ledger)."""
    folder, _ = undisturbed
    shutil.copytree(folder / "one" / "work", tmp_path / "work")
    experiment = load_experiment(str(folder / "tiny.json"))
    manifest = load_manifest(tmp_path / "work" / "tiny" / "manifest.json")
    return Setting(experiment, folder / "data", tmp_path / "work"), manifest, Ledger(tmp_path / "work" / "ledger.db")


def test_every_picture_is_judged_in_either_role_and_an_innocent_suspect_scores_nothing(setting):
    rows, missing = collect(*setting)
    assert missing == 0
    table = pd.DataFrame(rows)
    trained = table.query("role == 'trained' and method == 'loss_contrast'")
    roles = trained.groupby(["dataset", "training", "concept", "picture"])["member"].agg(["sum", "count"])
    assert len(roles) == 2 * 3 * 4 and (roles["sum"] == 1).all() and (roles["count"] == 2).all()
    contrasts = table.query("measure in ('contrast', 'removed_alignment', 'removed_gain')")
    assert (contrasts.query("role == 'innocent'")["score"] == 0).all()
    assert (contrasts.query("role == 'unrelated' and method == 'loss_contrast'")["score"] != 0).all()
    assert set(table.query("role != 'trained'")["method"]) == {"cgidm", "loss_contrast"}


def test_all_that_a_score_depends_on_is_in_its_key(setting):
    """Other seeds, splits, settings, weights: no key is used again. Another embedder: only where one is used."""
    run, manifest, ledger = setting
    unit = plan_units(run.experiment, manifest)[0]
    methods = run.experiment.resolved()
    base = weight_digests(run.experiment.base)
    suspect = weight_digests(str(find_checkpoint(unit.suspect.model, base, run.work)))

    def keys(label="cgidm", by=(), **changes):
        given = {"unit": unit, "experiment": run.experiment, "base_weights": base, "suspect_weights": suspect}
        given |= {"label": label, "method": replace(methods[label], **dict(by)), "embedders": EMBEDDERS}
        return set(answer_keys(**(given | changes)))

    before = keys()
    assert not ledger.missing(before), "this is how the run made them"
    swapped = replace(unit.concept, halves=unit.concept.halves[::-1])
    for changed in (
        keys(experiment=run.experiment.model_copy(update={"seed": 1})),
        keys(experiment=run.experiment.model_copy(update={"dtype": "bfloat16"})),
        keys(unit=replace(unit, concept=swapped)),
        keys(unit=replace(unit, suspect=replace(unit.suspect, pictures=unit.concept.halves[1]))),
        keys(unit=replace(unit, prompt="other")),
        keys(base_weights=(*base[1:], "f" * 64)),
        keys(suspect_weights=(*suspect[1:], "f" * 64)),
        keys(by={"steps": 3}),
        keys(embedders=["clip", *EMBEDDERS]),
    ):
        assert not before & changed
    assert keys("loss") == keys("loss", embedders=["clip", *EMBEDDERS])


def test_a_suspect_depends_on_its_pictures_its_recipe_and_its_base(setting):
    run, manifest, _ = setting
    suspect = plan_suspects(run.experiment, manifest)[0]
    other = replace(suspect, config=replace(suspect.config, seed=5))
    assert len({s.model.key(b) for s in (suspect, other) for b in (("a",), ("b",))}) == 4
    assert suspect.model.key(("a",)) != replace(suspect, pictures=suspect.pictures[:1]).model.key(("a",))


def test_a_checkpoint_half_written_is_refused_and_trained_again(setting):
    run, manifest, ledger = setting
    suspect = plan_suspects(run.experiment, manifest)[0]
    weights = next((suspect.model.folder(run.work, run.base_weights) / "checkpoint" / "unet").glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with refuses("training.not_usable", model="art/cat1-a-dreambooth") as caught:
        score_jobs(run, manifest, ledger)
    assert caught.value.params["damage"].code == "training.damaged"
    (job,) = train_jobs(run, manifest)
    assert list(job.run()) == [[]] and weights.read_bytes() == whole
    assert not score_jobs(run, manifest, ledger), "the same weights again, so nothing is stale"
    (suspect.model.folder(run.work, run.base_weights) / RECORD).unlink()
    damage = find_damage(suspect.model.folder(run.work, run.base_weights))
    assert damage is not None and damage.code == "training.not_trained"


def test_a_disk_that_fills_up_is_said_and_leaves_nothing_half_written(setting, monkeypatch):
    run, manifest, _ = setting
    suspect = plan_suspects(run.experiment, manifest)[0]
    folder = suspect.model.folder(run.work, run.base_weights)
    shutil.rmtree(folder)

    def full(base, pictures, out, config, progress):
        out.mkdir(parents=True)
        (out / "half").write_bytes(b"0")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cgidm.training.trained_model.finetune", full)
        with refuses("training.not_written", model=suspect.name) as caught:
            list(train_jobs(run, manifest)[0].run())
        assert "No space left" in str(caught.value)
    assert not [p for p in folder.parent.iterdir() if folder.name in p.name]
    (job,) = train_jobs(run, manifest)
    assert list(job.run()) == [[]] and find_damage(folder) is None


def test_other_weights_in_a_suspect_s_place_are_not_believed(setting):
    run, manifest, _ = setting
    suspect = next(s for s in plan_suspects(run.experiment, manifest) if s.training == "lora")
    folder = suspect.model.folder(run.work, run.base_weights) / "checkpoint"
    (file,) = folder.glob("*.safetensors")
    state = load_file(file)
    state[next(iter(state))][0] += 1
    save_file(state, file, {"format": "pt"})
    with refuses("training.not_usable"):
        find_checkpoint(suspect.model, run.base_weights, run.work)


def test_a_killed_worker_is_said_and_what_it_had_finished_stays(setting, tmp_path):
    run, manifest, _ = setting
    ledger = Ledger(tmp_path / "other.db")
    jobs = score_jobs(run, manifest, ledger)[:3]
    with refuses("benchmark.worker_killed"):
        run_local([jobs[0], Suicide(), jobs[1]], ledger, 1, "job")
    assert len({row.key for row in ledger.rows()}) == sum(map(len, jobs[0].keys.values()))


@dataclass(frozen=True)
class Suicide:
    """A job whose process is killed by the system."""

    name: str = "suicide"
    cost: int = 1

    def run(self):
        os.kill(os.getpid(), signal.SIGKILL)
        yield []


def test_the_plan_says_what_it_costs(undisturbed, capsys):
    folder, _ = undisturbed
    text = answer_here(capsys, folder, "one", "--dry-run")
    assert "12 suspects to train (24 pictures shown), 21 units, 84 decisions" in text
    assert text.splitlines()[-1].split() == ["all", "960"]


@pytest.mark.parametrize(
    "changes, code, params",
    [
        ({"methods": ["cgidm", "magic"]}, "benchmark.unknown_method", {"where": "methods", "given": "magic"}),
        ({"methods": [{"method": "loss", "drows": 3}]}, "benchmark.method_settings", {"method": "loss"}),
        ({"methods": ["loss", "loss"]}, "benchmark.method_twice", {"label": "loss"}),
        ({"chance": {"training": "magic", "methods": []}}, "benchmark.unknown_chance_training", {"given": "magic"}),
        ({"bases": {"magic": "b"}}, "benchmark.unknown_base_training", {"given": "magic"}),
        (
            {"chance": {"training": "lora", "methods": ["cgidm"]}},
            "benchmark.fused_needs_chance",
            {"method": "loss_contrast"},
        ),
        (
            {"report": {"pairs": [["magic", "contrast"]]}},
            "benchmark.unknown_method",
            {"where": "report", "given": "magic"},
        ),
    ],
)
def test_a_mistake_in_an_experiment_is_named(tmp_path, changes, code, params):
    (tmp_path / "e.json").write_text(json.dumps({**EXPERIMENT, "base": "b", **changes}))
    with refuses("benchmark.experiment_invalid", path=str(tmp_path / "e.json"), where="the whole") as caught:
        load_experiment(str(tmp_path / "e.json"))
    problem = caught.value.params["problem"]
    assert problem.code == code and params.items() <= problem.params.items()
    assert str(problem) in str(caught.value)


def test_an_unknown_key_of_an_experiment_is_named(tmp_path):
    (tmp_path / "e.json").write_text(json.dumps({**EXPERIMENT, "base": "b", "colour": "red"}))
    with refuses("benchmark.experiment_invalid", where="colour", given="red"):
        load_experiment(str(tmp_path / "e.json"))


def test_every_preset_can_be_read_and_an_unknown_one_names_them():
    names = [path.stem for path in PRESETS.glob("*.json")]
    assert len(names) >= 10 and all(load_experiment(name).name == name for name in names)
    with refuses("benchmark.experiment_not_found", given="table1", accepted=sorted(names)):
        load_experiment("table1")


def test_a_fused_rule_without_other_concepts_is_refused_before_anything_is_computed(tmp_path, capsys):
    write_experiment(tmp_path, datasets={"art": {"folder": "art", "concepts": 2}})
    text = answer_here(capsys, tmp_path, "new", stage="prepare")
    assert "expected at least 3 concepts in dataset art, got 2" in text


def test_stages_say_what_is_to_be_done_first(tmp_path, capsys):
    write_experiment(tmp_path)
    assert "Run `python -m eval prepare` first" in answer_here(capsys, tmp_path, "new", stage="finetune")
    answer_here(capsys, tmp_path, "new", stage="prepare")
    text = answer_here(capsys, tmp_path, "new", stage="score")
    assert "art/cat1-a-dreambooth is not trained yet. Run the training again" in text and "\n" not in text.strip()


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_experiment(place)
        begun = time.monotonic()
        finished(command(place, "one", "--workers", 1))
        took = time.monotonic() - begun
        killed_again_and_again(place, "killed", int(sys.argv[1]), took, random.Random())
        finished(command(place, "killed", "--workers", 2))
        assert contents(place / "killed" / "out") == contents(place / "one" / "out")
        print(f"{sys.argv[1]} kills -9 in a run of {took:.0f} s, then finished: identical")
