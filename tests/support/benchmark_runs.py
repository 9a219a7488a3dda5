"""`python -m eval` in processes that can be stopped and killed."""

import os
import signal
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial

from eval.__main__ import main
from tests.support.forks import fork_server
from tests.support.paths import ROOT


def arguments_of(folder, name, *options, stage="run"):
    """Of `python -m eval`: a stage of the experiment in `folder`, with work and results below `folder/name`."""
    places = ["--data", folder / "data", "--work", folder / name / "work"]
    places += ["--out", folder / name / "out"] if stage == "run" else []
    return [str(a) for a in (stage, folder / "tiny.json", *places, *options)]


def command(*given, one_session=False):
    """The command in a process of its own, which can be killed; its server has imported the libraries already."""
    log = given[0] / f"{given[1]}.log"
    process = fork_server().Process(target=run_command, args=(arguments_of(*given), log, one_session))
    process.start()
    return process, log


def run_command(arguments, log, one_session):
    """What that process does: it leads a group of its own, as a terminal's job does, and prints to `log`.

    `one_session`: Ray is started once and not for each stage, so that its workers import the libraries once.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits none
    warnings.simplefilter("ignore")
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["RAY_raylet_start_wait_time_s"] = "180"  # other tests are at work, too
    os.environ["RAY_prestart_worker_first_driver"] = "0"  # jobs bring an environment, which these would lack
    os.chdir(ROOT)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    with share_session() if one_session else nullcontext():
        main(arguments)


@contextmanager
def share_session():
    import ray

    shutdown = ray.shutdown
    ray.init, ray.shutdown = partial(ray.init, ignore_reinit_error=True), lambda: None
    try:
        yield
    finally:
        shutdown()


def finished(started, code=0):
    """What it printed; it must end with that status."""
    process, log = started
    process.join(300)
    assert process.exitcode == code, (process.exitcode, log.read_text())
    return log.read_text()
