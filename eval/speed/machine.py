"""Where and with what a measurement was taken."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from eval.speed.memory import total_memory

PACKAGES = ("torch", "diffusers", "transformers", "peft")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The device first; the processor in any case, since it prepares every step."""
    found: dict[str, Any] = {
        "device": device.type,
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "waiting": os.environ.get("OMP_WAIT_POLICY", ""),  # PASSIVE: small batches take twice as long
        "memory_bytes": total_memory(torch.device("cpu")),
    }
    if device.type == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "gpu_memory_bytes": total_memory(device),
            "driver": _ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def describe_software() -> dict[str, Any]:
    """Versions, the commit, and whether files were changed since it."""
    versions: dict[str, Any] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    here = str(Path(__file__).parent)
    changed = _ask("git", "-C", here, "status", "--porcelain", "--untracked-files=no")
    return {
        "versions": versions,
        "commit": _ask("git", "-C", here, "rev-parse", "HEAD"),
        "files_changed_since": None if changed is None else bool(changed),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _ask(*command: str) -> str | None:
    """What a program prints; None if it is not here or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
