"""`python -m eval reality` against the stand-ins, in processes that can be killed."""

import os
import urllib.request
import warnings
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants as hub_constants
import torch

from cgidm.intake.civitai import client
from cgidm.intake.civitai.client import EveryStatus
from cgidm.method.config import PRESETS
from eval.__main__ import main
from eval.benchmark import cli
from tests.support.civitai_server import ToStandIn
from tests.support.forks import fork_server
from tests.support.paths import ROOT
from tests.support.quick_presets import leave_pages_out
from tests.support.reality_hub import use_tiny_embedders


def start(hub: str, civitai: int, plan: Path, out: Path, *options: str):
    """Start the command in a process of its own; its server has imported the libraries already.

    Runs whose folders lie beside each other share a cache: a checkpoint names the folder of its base.
    """
    log = out.with_suffix(".log")
    given = ["reality", "--plan", str(plan), "--out", str(out), *options]
    process = fork_server().Process(target=run_command, args=(given, hub, civitai, out.parents[1] / "cache", log))
    log.touch()
    process.start()
    return process, log


def run_command(arguments: list[str], hub: str, civitai: int, cache: Path, log: Path | None = None) -> None:
    """What that process does. Jobs run in it, so that whoever kills it kills them, too."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.chdir(ROOT)
    if log is not None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    lead_to_stand_ins(hub, civitai, cache)
    use_tiny_embedders()
    fast = PRESETS["fast"]  # the draws of a bank stay
    recovery = replace(fast.recovery, steps=2, draws=1)
    PRESETS["fast"] = replace(fast, mirror_draws=2, mirrored_recovery=False, recovery=recovery)
    leave_pages_out()
    cli.run_local = run_here
    main(arguments)


def lead_to_stand_ins(hub: str, civitai: int, cache: Path) -> None:
    """Lead every request of this process to the stand-ins: the libraries have read the environment already."""
    os.environ["HF_ENDPOINT"] = hub
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    os.environ.pop("HF_TOKEN", None)
    hub_constants.ENDPOINT = hub
    hub_constants.HUGGINGFACE_CO_URL_TEMPLATE = f"{hub}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    hub_constants.HF_HUB_CACHE = str(cache / "hub")
    hub_constants.HF_TOKEN_PATH = str(cache / "token")
    client.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), EveryStatus, ToStandIn(civitai))


def run_here(jobs, ledger, workers, unit) -> None:
    """In place of the pool of processes, which `tests/eval/test_benchmark.py` has."""
    for job in jobs:
        for rows in job.run():
            ledger.add(rows)
