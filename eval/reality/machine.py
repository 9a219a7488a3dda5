"""What this machine lacks, a sentence each, before anything is downloaded: `--check`, and the stage `machine`."""

import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

from cgidm.doctor.environment import check_device, check_memory
from cgidm.doctor.machine import Folder, Machine, TorchFacts, gather_machine, look_at_folder
from cgidm.doctor.models import check_cache, check_hub
from cgidm.doctor.requirements import unmet_requirement
from cgidm.doctor.self_test import check_computing
from cgidm.messages import Note, note
from eval.reality.plan import RealityPlan
from eval.reality.stages import Sitting

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
EXTRA = "eval"
CHECKS = (check_device, check_memory, check_cache, check_hub, check_computing)
PACKAGES = ("torch", "diffusers", "transformers", "peft", "huggingface_hub", "open_clip_torch", "timm")


def benchmark_requirements(project: Path = PROJECT) -> list[str]:
    """Read what the benchmark needs installed, as the project states it."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    return [*table["dependencies"], *table["optional-dependencies"][EXTRA]]


def list_missing(machine: Machine, plan: RealityPlan, requirements: Sequence[str], out: Path) -> list[Note]:
    """List what the machine lacks: GPU, Hub, packages, token, disk, in this order; empty if it lacks nothing.

    Args:
        machine: as the doctor sees it.
        plan: what is to be tried.
        requirements: of packages.
        out: folder of the results.
    """
    unmet = [requirement for requirement in requirements if unmet_requirement(requirement) is not None]
    packages = [note("reality.no_packages", packages=", ".join(unmet), extra=EXTRA)] if unmet else []
    return [*_gpu(machine, plan), *_hub(machine), *packages, *_token(plan), *_disk(machine, plan, out)]


def _gpu(machine: Machine, plan: RealityPlan) -> list[Note]:
    gpu = machine.torch.gpu if isinstance(machine.torch, TorchFacts) else None
    if not plan.gpu_gb:
        return []
    if gpu is None:
        return [note("reality.no_gpu")]
    if gpu.total < plan.gpu_gb * 1e9:
        return [note("reality.small_gpu", given=gpu.total / 1e9, expected=plan.gpu_gb)]
    return []


def _hub(machine: Machine) -> list[Note]:
    return [] if all(found.status == "ok" for found in check_hub(machine)) else [note("reality.no_hub")]


def _token(plan: RealityPlan) -> list[Note]:
    gated = [model.location for model in plan.public_models if model.gated]
    return [note("reality.no_token", models=gated)] if gated and get_token() is None else []


def _disk(machine: Machine, plan: RealityPlan, out: Path) -> list[Note]:
    folders = [look_at_folder(out)] + ([] if isinstance(machine.hub, Note) else [machine.hub.cache])
    tightest: Folder = min(folders, key=lambda folder: folder.free)
    if tightest.free >= plan.disk_gb * 1e9:
        return []
    facts = {"folder": str(tightest.path), "given": tightest.free / 1e9, "expected": plan.disk_gb}
    return [note("reality.little_disk", **facts)]


def describe(sitting: Sitting) -> dict[str, Any]:
    """What the doctor finds of this machine, and what it lacks."""
    machine = gather_machine()
    findings = [finding for check in CHECKS for finding in check(machine)]
    missing = list_missing(machine, sitting.plan, benchmark_requirements(), sitting.out)
    gpu = machine.torch.gpu if isinstance(machine.torch, TorchFacts) else None
    return {
        "gpu": None if gpu is None else gpu.name,
        "versions": {name: version(name) for name in PACKAGES},
        "checks": [{"name": f.name, "ok": f.status == "ok", "found": str(f.note)} for f in findings],
        "missing": [str(lack) for lack in missing],
    }
