"""`python -m eval reality --check`: what this machine lacks for the `paper-` presets, a sentence each.

Those presets need a GPU, the Hub and the packages of the extra `eval`. Nothing is downloaded or computed.
"""

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from cgidm.doctor.machine import Machine, TorchFacts, gather_machine
from cgidm.doctor.models import check_hub
from cgidm.doctor.requirements import unmet_requirement
from cgidm.messages import Note, note

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
EXTRA = "eval"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--check`."""
    parser.add_argument("--check", action="store_true", required=True, help="say what is missing, and compute nothing")


def run(_: argparse.Namespace) -> None:
    """Print what is missing; exit code 1 if anything is."""
    missing = list_missing(gather_machine(), benchmark_requirements())
    for lack in missing or [note("studies.reality_ready")]:
        print(lack)
    sys.exit(int(bool(missing)))


def benchmark_requirements(project: Path = PROJECT) -> list[str]:
    """Read what the benchmark needs installed, as the project states it."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    return [*table["dependencies"], *table["optional-dependencies"][EXTRA]]


def list_missing(machine: Machine, requirements: Sequence[str]) -> list[Note]:
    """List what the machine lacks: GPU, Hub, packages, in this order; empty if it lacks nothing."""
    missing = []
    if not isinstance(machine.torch, TorchFacts) or machine.torch.gpu is None:
        missing.append(note("studies.reality_no_gpu"))
    if any(found.status != "ok" for found in check_hub(machine)):
        missing.append(note("studies.reality_no_hub"))
    unmet = [requirement for requirement in requirements if unmet_requirement(requirement) is not None]
    if unmet:
        missing.append(note("studies.reality_no_packages", packages=", ".join(unmet), extra=EXTRA))
    return missing
