"""Machine, thread count, package versions and code hash: what affects a score's last digits besides its inputs."""

import hashlib
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..method.models import ModelPair

SOURCE = Path(__file__).parents[1]
PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "peft"),
    *("open_clip_torch", "timm", "numpy", "scipy", "pillow"),
)


def describe_machine(pair: ModelPair) -> dict[str, Any]:
    """Describe where a pair computes: device, precision, threads, batch size. Host and user are not named."""
    dtype = getattr(pair.base, "dtype", None)
    plan = pair.memory
    held = {} if plan is None else {"rows_per_call": plan.rows_per_call, "tiles": plan.tiling}
    return {
        "device": pair.device.type,
        "device_name": name_processor() if pair.device.type == "cpu" else torch.cuda.get_device_name(pair.device),
        "precision": pair.quantisation or ("" if dtype is None else str(dtype).removeprefix("torch.")),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        **held,
    }


RENDERING = ("fpdf2", "fonttools", "matplotlib")  # of matplotlib, the fonts


@lru_cache(maxsize=1)
def describe_code() -> dict[str, str]:
    """The library's version, and one SHA-256 over its sources; the page, which computes nothing, is left out.

    The same hash comes from this command, run in the folder of the package:
    `find cgidm -name '*.py' -not -path 'cgidm/page/*' | LC_ALL=C sort | xargs sha256sum | sha256sum`
    """
    ours = [p for p in SOURCE.rglob("*.py") if p.relative_to(SOURCE).parts[0] != "page"]
    names = sorted(p.relative_to(SOURCE.parent).as_posix() for p in ours)
    lines = (f"{hashlib.sha256((SOURCE.parent / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    return {"version": __version__, "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def package_versions() -> dict[str, str | None]:
    """The versions of Python, of every package that computes, and of those that make a report.

    None for a package that is not installed.
    """
    return {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}, **rendering_versions()}


def rendering_versions() -> dict[str, str | None]:
    """The versions of the packages that a report's bytes depend on, and no score."""
    return {p: _version(p) for p in RENDERING}


@lru_cache(maxsize=1)
def name_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, the instructions that torch uses, and its instructions for bfloat16.

    Processors of one name, as rented machines report it, may differ in these, and their scores in the third digit.

    Args:
        cpuinfo: the file in which Linux describes the processor.
    """
    try:
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
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
