"""Who runs the jobs of a stage: the processes of this machine, or a Ray cluster.

Both do the same work in the same way, one thread for each process on the CPU, so that the numbers agree to the last
bit however many there are. A job that was interrupted is simply run again.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.context import BaseContext
from typing import Any, Protocol

import torch
from tqdm import tqdm

from cgidm.errors import UserError
from eval.benchmark.ledger import Ledger, Row


class StageJob(Protocol):
    """A piece of a stage that depends on no other."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def cost(self) -> int:
        """In any unit that the jobs of a stage share; for the remaining time."""
        ...

    def run(self) -> Iterator[list[Row]]:
        """Do it, yielding what the ledger is to keep."""
        ...


def run_local(jobs: Sequence[StageJob], ledger: Ledger, workers: int, unit: str) -> None:
    """Run them in `workers` processes of this machine, each of which writes its own rows to the ledger.

    Raises:
        UserError: if a process is killed (no memory, most often).
    """
    if not jobs:
        return
    pool = ProcessPoolExecutor(workers, _context(), initializer=_prepare_worker)
    try:
        futures = {pool.submit(_run_job, job, ledger): job for job in jobs}
        with _progress(jobs, unit) as bar:
            for future in as_completed(futures):
                future.result()
                _advance(bar, futures[future])
    except BrokenProcessPool:
        raise UserError("benchmark.worker_killed") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who stops a run does not want to wait for its jobs


def run_ray(jobs: Sequence[StageJob], ledger: Ledger, unit: str, address: str | None = None, workers: int = 2) -> None:
    """Run them on a Ray cluster; this process alone writes to the ledger.

    `address` is a cluster's ("auto": the one this machine belongs to); None starts one here with `workers` CPUs. Where
    the cluster has GPUs each job takes one. All machines need the project, the data and the working folder under the
    same paths (a shared disk). A job whose worker dies is run again, up to three times.

    Raises:
        UserError: if Ray is not installed.
    """
    if not jobs:
        return
    try:
        import ray
    except ImportError:
        raise UserError("benchmark.no_ray") from None
    here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address is None else {}
    environment = {"env_vars": {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}}
    ray.init(address=address, log_to_driver=False, configure_logging=False, runtime_env=environment, **here)
    try:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(_stream_job)
        streams: dict[Any, StageJob] = {remote.options(num_returns="streaming").remote(job): job for job in jobs}
        with _progress(jobs, unit) as bar:
            while streams:
                stream: Any = ray.wait(list(streams), num_returns=1)[0][0]
                try:
                    ledger.add(ray.get(next(stream)))
                except StopIteration:
                    _advance(bar, streams.pop(stream))
    finally:
        ray.shutdown()


def _context() -> BaseContext:
    """How workers start: from a server that has imported the libraries once, which takes ten seconds.

    With a GPU each on its own, since CUDA does not survive a fork.
    """
    if torch.cuda.is_available():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["eval.benchmark.stages"])
    return context


def _prepare_worker() -> None:
    """One thread, and no life after its parent: a pool's processes wait for ever if the parent is killed.

    Ctrl-C reaches every process of a terminal; it is the parent's to answer.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run_job(job: StageJob, ledger: Ledger) -> None:
    for rows in job.run():
        ledger.add(rows)


def _stream_job(job: StageJob) -> Iterator[list[Row]]:
    torch.set_num_threads(1)
    yield from job.run()


def _progress(jobs: Sequence[StageJob], unit: str) -> "tqdm[Any]":
    return tqdm(total=sum(job.cost for job in jobs), unit=unit, unit_scale=True, smoothing=0.1, dynamic_ncols=True)


def _advance(bar: "tqdm[Any]", job: StageJob) -> None:
    bar.set_postfix_str(job.name, refresh=False)
    bar.update(job.cost)
