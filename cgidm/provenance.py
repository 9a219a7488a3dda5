"""What the last digits of a score depend on beside its inputs: machine, threads, versions, the library's code."""

import hashlib
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from . import __version__
from .method.models import ModelPair

SOURCE = Path(__file__).parent
PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "peft"),
    *("open_clip_torch", "timm", "numpy", "scipy", "pillow"),
)


def describe_machine(pair: ModelPair) -> dict[str, Any]:
    """Where a pair computes, in which precision, on how many threads, in which pieces. It names nobody's computer."""
    dtype = getattr(pair.base, "dtype", None)
    plan = pair.memory
    held = {} if plan is None else {"rows_at_once": plan.rows_per_call, "tiles": plan.tiling}
    return {
        "device": pair.device.type,
        "device_name": name_processor() if pair.device.type == "cpu" else torch.cuda.get_device_name(pair.device),
        "precision": "" if dtype is None else str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        **held,
    }


@lru_cache(maxsize=1)
def describe_code() -> dict[str, str]:
    """The library's version, and one SHA-256 over its sources, without those of the page, which computes nothing.

    It is that of `find cgidm -name '*.py' -not -path 'cgidm/page/*' | LC_ALL=C sort | xargs sha256sum | sha256sum`, run
    beside the package.
    """
    ours = [p for p in SOURCE.rglob("*.py") if p.relative_to(SOURCE).parts[0] != "page"]
    names = sorted(p.relative_to(SOURCE.parent).as_posix() for p in ours)
    lines = (f"{hashlib.sha256((SOURCE.parent / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    return {"version": __version__, "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def package_versions() -> dict[str, str | None]:
    """Python's version and that of every package that computes; null where one is not installed."""
    return {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}}


@lru_cache(maxsize=1)
def name_processor(told: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, what torch uses of it, and its instructions for bfloat16.

    Processors of one name, as machines that are rented out have it, may differ in these, and then in the third digit.
    """
    try:
        lines = [line.partition(":") for line in told.read_text().splitlines()]
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in lines}
    instructions = (facts.get("flags") or facts.get("Features") or "").split()  # as x86 and ARM call them
    name = facts.get("model name") or platform.processor() or platform.machine()
    used = [torch.backends.cpu.get_cpu_capability(), *sorted(i for i in instructions if i.endswith("bf16"))]
    return f"{name} ({', '.join(used)})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
