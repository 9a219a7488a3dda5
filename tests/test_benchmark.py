"""A whole experiment by its commands: killed at any moment, by any number of workers, it ends in the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .tiny_benchmark import write_experiment

ROOT = Path(__file__).parent.parent
KILLS = 3  # in the suite; `python -m tests.test_benchmark 20` for more


def command(folder, name, *options, stage="run"):
    """`python -m eval STAGE` on the experiment in `folder`, with work and results below `folder/name`."""
    places = ["--data", folder / "data", "--work", folder / name / "work", "--out", folder / name / "out"]
    arguments = [sys.executable, "-W", "ignore", "-m", "eval", stage, folder / "tiny.json", *places, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [str(a) for a in arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(process, code=0):
    text, _ = process.communicate(timeout=300)
    assert process.returncode == code, text
    return text


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def killed_again_and_again(folder, name, kills, seconds, rng):
    """Start the same command and kill it at a random moment, `kills` times; every other time its workers too."""
    for i in range(kills):
        process = command(folder, name, "--workers", 2)
        time.sleep(rng.uniform(0.3, 1) * seconds)
        (os.killpg if i % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The experiment's folder after one run with one worker, and how long that took."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_experiment(folder)
    start = time.monotonic()
    finished(command(folder, "one", "--workers", 1))
    return folder, time.monotonic() - start


def test_two_workers_and_a_run_that_was_killed_give_the_same_bytes(undisturbed):
    folder, seconds = undisturbed
    expected = contents(folder / "one" / "out")
    assert {"scores.csv", "scores.parquet", "summary.json", "table.md"} <= expected.keys()
    killed_again_and_again(folder, "killed", KILLS, seconds, random.Random(0))
    finished(command(folder, "killed", "--workers", 2))
    assert contents(folder / "killed" / "out") == expected
    text = finished(command(folder, "killed", "--workers", 2))
    assert "0 suspects to train" in text and "0 units to score" in text


def test_ray_gives_the_same_bytes_though_a_worker_is_killed(undisturbed):
    pytest.importorskip("ray")
    folder, _ = undisturbed
    process = command(folder, "ray", "--engine", "ray", "--workers", 2)
    struck = False
    while process.poll() is None and not struck:
        time.sleep(0.05)
        struck = kill_a_ray_worker(process.pid)
    finished(process)
    assert struck, "the run ended before a worker was seen"
    assert contents(folder / "ray" / "out") == contents(folder / "one" / "out")


def kill_a_ray_worker(session):
    """Kill one process that is at a job; Ray names it after its task."""
    for entry in Path("/proc").iterdir():
        try:
            if "ray::_stream_job" in (entry / "cmdline").read_text():
                os.kill(int(entry.name), signal.SIGKILL)
                return True
        except (OSError, ValueError):
            continue
    return False


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
