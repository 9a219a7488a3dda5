"""requirements.txt, and whether its packages are installed: by names and versions alone, nothing is imported."""

import re
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from ..messages import Note, note


def read_requirements(file: Path) -> list[str]:
    """The requirements of a file, without comments and options; none if the file does not exist."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    plain = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [line for line in plain if line and not line.startswith("-")]


def installed_requirements() -> list[str]:
    """The requirements that the installed package states; none if it is not installed."""
    try:
        return [r for r in requires("cgidm") or [] if "extra ==" not in r]
    except PackageNotFoundError:
        return []


def unmet_requirement(requirement: str) -> tuple[str, Note] | None:
    """The package and why it does not meet `requirement`; None if it does, or the requirement does not apply here.

    Args:
        requirement: as in requirements.txt: "torch>=2.6".

    Raises:
        ValueError: if `requirement` names no package.
    """
    from packaging.requirements import Requirement  # late, as it is missing on a fresh machine
    from packaging.version import InvalidVersion, Version

    needed = Requirement(requirement)
    if needed.marker is not None and not needed.marker.evaluate():
        return None
    try:
        table = metadata(needed.name)
        version = table["Version"] if "Version" in table else ""  # Python 3.12 and later warn where it is missing
        if needed.specifier.contains(Version(version), prereleases=True):
            return None
    except PackageNotFoundError:
        return needed.name, note("doctor.package_not_installed")
    except InvalidVersion:  # of a package that was removed in part
        return needed.name, note("doctor.package_in_part")
    return needed.name, note("doctor.package_version", version=version, needed=str(needed.specifier))
