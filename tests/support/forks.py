"""Processes of their own that need not import the libraries: their server has done so, once for all tests."""

import multiprocessing
from multiprocessing.context import ForkServerContext
from types import SimpleNamespace

LIBRARIES = ["eval.benchmark.stages", "eval.speed.paired"]


def fork_server() -> ForkServerContext:
    """Its processes are as new as spawned ones, but for what is imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def instead_of_spawning() -> SimpleNamespace:
    """Stands for `multiprocessing` in a module that spawns processes."""

    def get_context(method: str) -> ForkServerContext:
        assert method == "spawn"
        return fork_server()

    return SimpleNamespace(get_context=get_context)
