"""The doctor on a Space: its environment, the head of README.md, and the models and pictures that ship."""

from ..messages import note
from .finding import PIP, Finding
from .front_matter import front_matter_problems
from .machine import Machine


def check_space(machine: Machine) -> list[Finding]:
    """A Space has what its environment must provide; another machine needs nothing of it."""
    if not machine.on_space:
        return [Finding("Space", "ok", note("doctor.no_space"))]
    found = []
    if machine.on_zerogpu and "spaces" not in machine.packages:
        fix = note("doctor.fix_spaces_missing", command=f"{PIP} spaces")
        found.append(Finding("spaces", "error", note("doctor.spaces_missing"), fix))
    if machine.has_token:
        found.append(Finding("HF_TOKEN", "warning", note("doctor.token_set"), note("doctor.fix_token_set")))
    if not machine.has_login:
        found.append(Finding("login", "warning", note("doctor.no_login"), note("doctor.fix_no_login")))
    return found or [Finding("Space", "ok", note("doctor.space_zerogpu" if machine.on_zerogpu else "doctor.space"))]


def check_front_matter(machine: Machine) -> list[Finding]:
    """README.md, if it is there, describes a Space that can start."""
    if not (machine.root / "README.md").is_file():
        return []
    errors = [Finding("front matter", "error", *problem) for problem in front_matter_problems(machine.root)]
    return errors or [Finding("front matter", "ok", note("doctor.front_matter"))]


def check_assets(machine: Machine) -> list[Finding]:
    """The models and pictures that ship are complete."""
    from .assets import asset_problems

    return [
        Finding(name, "ok", note("doctor.asset")) if problem is None else Finding(name, "error", *problem)
        for name, problem in asset_problems(machine.assets).items()
    ]
