"""requirements.txt, and whether what it names is installed: by names and versions alone, nothing is imported."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path


def read_requirements(file: Path) -> list[str]:
    """Its requirements, without comments and options; none where there is no such file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    plain = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [line for line in plain if line and not line.startswith("-")]


def find_lack(requirement: str) -> tuple[str, str] | None:
    """The package and why it does not meet `requirement`, such as torch>=2.6; None if it does, or need not here.

    Raises:
        ValueError: if `requirement` names no package.
    """
    from packaging.requirements import Requirement  # late, as it is missing on a fresh machine
    from packaging.version import InvalidVersion, Version

    needed = Requirement(requirement)
    if needed.marker is not None and not needed.marker.evaluate():
        return None
    try:
        told = metadata(needed.name)
        has = told["Version"] if "Version" in told else ""  # Python 3.12 and later warn where it is missing
        if needed.specifier.contains(Version(has), prereleases=True):
            return None
    except PackageNotFoundError:
        return needed.name, "not installed"
    except InvalidVersion:  # of a package that was removed in part
        return needed.name, "installed in part"
    return needed.name, f"{has} is there, {needed.specifier} is needed"
