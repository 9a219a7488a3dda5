"""The doctor on Python, packages, GPU, memory and temporary files."""

import re

from ..messages import Note, note
from .finding import PIP, REINSTALL, Finding, command_fix, shorten_home
from .front_matter import OLDEST_PYTHON
from .machine import Machine
from .requirements import installed_requirements, read_requirements, unmet_requirement

NEWEST_PYTHON = (3, 13)  # tested
ALWAYS = ("open_clip_torch>=2.29",)  # before it, a model's name meant another activation: other scores of CLIP
EXTRAS = ("mcp", "authlib", "itsdangerous")  # of gradio: tools for agents, and logging in
BLACKWELL = (10, 0)  # capability; RTX PRO 6000, which ZeroGPU lends, has 12.0
BLACKWELL_CUDA = (12, 8)  # wheels for an older one hold no code for it
ENOUGH_MEMORY = 12_000_000_000  # bytes
ANY_PACKAGE = f"{PIP} -r requirements.txt"


def check_python(machine: Machine) -> list[Finding]:
    """Python is a version that is tested."""
    version = ".".join(map(str, machine.python))
    if machine.python < OLDEST_PYTHON:
        return [Finding("Python", "error", note("doctor.python_old", version=version), note("doctor.fix_python_old"))]
    if machine.python > NEWEST_PYTHON:
        return [Finding("Python", "warning", note("doctor.python_new", version=version), note("doctor.fix_python_new"))]
    return [Finding("Python", "ok", note("doctor.python", version=version))]


def check_packages(machine: Machine) -> list[Finding]:
    """Every package of requirements.txt, or of the installed package, is there and new enough."""
    wanted = read_requirements(machine.root / "requirements.txt") or installed_requirements()
    errors = []
    for text in dict.fromkeys([*wanted, *ALWAYS]):
        try:
            if unmet := unmet_requirement(text):
                name, problem = unmet
                errors.append(Finding(f"package {name}", "error", problem, command_fix(f'{PIP} -U "{text}"')))
        except ValueError:
            problem = note("doctor.requirement_unreadable", line=text)
            errors.append(Finding("packages", "error", problem, note("doctor.fix_requirement")))
    if errors:
        return errors
    if not wanted:
        return [Finding("packages", "warning", note("doctor.no_requirements"), note("doctor.fix_no_requirements"))]
    return [Finding("packages", "ok", note("doctor.packages", count=len(wanted)))]


def check_gradio(machine: Machine) -> list[Finding]:
    """The packages that logging in and tools for agents need are installed."""
    if missing := [name for name in EXTRAS if name not in machine.packages]:
        fix = command_fix(f'{PIP} "gradio[mcp,oauth]"')
        return [Finding("gradio's extras", "warning", note("doctor.gradio_extras_missing", packages=missing), fix)]
    return [Finding("gradio's extras", "ok", note("doctor.gradio_extras"))]


def check_device(machine: Machine) -> list[Finding]:
    """A GPU is there, and torch can use it."""
    facts = machine.torch
    if facts is None:
        return [Finding("device", "ok", note("doctor.zerogpu"))]
    if isinstance(facts, Note):
        return [Finding("device", "error", facts, command_fix(ANY_PACKAGE))]
    if facts.gpu_error:
        problem = note("doctor.gpu_unusable", error=facts.gpu_error)
        return [Finding("device", "error", problem, note("doctor.fix_gpu_unusable"))]
    if facts.gpu is None:
        if not facts.warning and not machine.has_nvidia_driver:
            return [Finding("device", "warning", note("doctor.no_gpu"), note("doctor.fix_no_gpu"))]
        return [Finding("device", "warning", _unseen(facts.cuda, facts.warning), _fix_driver())]
    gpu = facts.gpu
    code = f"sm_{gpu.capability[0]}{gpu.capability[1]}"
    if facts.cuda and gpu.capability >= BLACKWELL and _numbers(facts.cuda) < BLACKWELL_CUDA:
        problem = note(
            "doctor.gpu_needs_newer_cuda", gpu=gpu.name, architecture=code, torch=facts.version, cuda=facts.cuda
        )
        return [Finding("device", "error", problem, note("doctor.fix_gpu_needs_newer_cuda", command=REINSTALL))]
    params = {
        "gpu": gpu.name,
        "count": gpu.count,
        "free": gpu.free / 1e9,
        "total": gpu.total / 1e9,
        "architecture": code,
    }
    return [Finding("device", "ok", note("doctor.gpu" if gpu.capability >= (8, 0) else "doctor.gpu_no_bf16", **params))]


def check_memory(machine: Machine) -> list[Finding]:
    """The machine, or its container, has enough memory."""
    if machine.memory is None:
        return []
    params = {"gigabytes": machine.memory / 1e9}
    if machine.memory < ENOUGH_MEMORY:
        return [Finding("memory", "warning", note("doctor.memory_small", **params), note("doctor.fix_memory_small"))]
    return [Finding("memory", "ok", note("doctor.memory", **params))]


def check_temporary(machine: Machine) -> list[Finding]:
    """Temporary files can be written."""
    name, fix, folder = "temporary files", note("doctor.fix_temporary"), machine.temporary
    if folder is None:
        return [Finding(name, "error", note("doctor.no_temporary"), fix)]
    params = shorten_home(folder.path)
    if folder.problem:
        return [Finding(name, "error", note("doctor.unwritable", folder=params, error=folder.problem), fix)]
    return [Finding(name, "ok", note("doctor.writable", folder=params))]


def _unseen(cuda: str | None, warning: str) -> Note:
    if warning:
        return note("doctor.gpu_unseen_because", warning=warning)
    return note("doctor.gpu_unseen", cuda=cuda) if cuda else note("doctor.torch_without_cuda")


def _fix_driver() -> Note:
    return note("doctor.fix_gpu_unseen", command=REINSTALL)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:2])
