"""`cgidm doctor`: check what a fresh machine, or a Space, needs; every problem comes with its fix.

It must answer where half of the packages are missing, and in an old Python. So this module imports the standard library
alone, a check imports what it needs, and what is missing is a finding too. Nothing is downloaded or changed.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from ..messages import Note
from ..messages.text import print_line
from .environment import ANY_PACKAGE
from .finding import PIP, Finding, command_fix, finding_lines
from .machine import Machine, explain_failure, gather_machine

CHECKS = {  # what is checked -> the module and function, imported late
    "Python": ("environment", "check_python"),
    "packages": ("environment", "check_packages"),
    "gradio's extras": ("environment", "check_gradio"),
    "Space": ("deployment", "check_space"),
    "front matter": ("deployment", "check_front_matter"),
    "device": ("environment", "check_device"),
    "memory": ("environment", "check_memory"),
    "temporary files": ("environment", "check_temporary"),
    "the Hub's cache": ("models", "check_cache"),
    "Hub": ("models", "check_hub"),
    "what ships": ("deployment", "check_assets"),
    "CLIP and DINO": ("models", "check_embedders"),
    "computing": ("self_test", "check_computing"),
    "bfloat16": ("self_test", "check_bfloat16"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command alone, without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="cgidm doctor", description="say what this machine, or Space, still needs")
    add_options(parser)
    return diagnose(parser.parse_args(sys.argv[2:] if arguments is None else arguments))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.add_argument("--json", action="store_true", help="plain data instead of lines")


def diagnose(options: argparse.Namespace) -> int:
    """Print the findings on this machine; return 1 if one of them is an error, else 0."""
    findings = examine(gather_machine())
    plain = [f.to_dict() for f in findings]
    if options.json:
        print(json.dumps(plain, indent=2))
    else:
        for line in finding_lines(findings):
            print_line(line)
    return int(any(f.status == "error" for f in findings))


def examine(machine: Machine) -> list[Finding]:
    """Run every check. A check that fails is a finding, and the next one runs."""
    found: list[Finding] = []
    for name, (module, function) in CHECKS.items():
        result = explain_failure(lambda module=module, function=function: _find_check(module, function)(machine))
        found += [_not_checked(name, result)] if isinstance(result, Note) else result
    return found


def _find_check(module: str, function: str) -> Callable[[Machine], list[Finding]]:
    return getattr(import_module(f".{module}", __package__), function)


def _not_checked(name: str, reason: Note) -> Finding:
    missing = reason.code == "doctor.package_missing"
    fix = (
        command_fix(ANY_PACKAGE)
        if missing
        else Note("doctor.fix_check_failed", {"command": f"{PIP} --force-reinstall"})
    )
    return Finding(name, "error", reason, fix)
