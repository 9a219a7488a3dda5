"""The block at the head of README.md from which the Hub makes a Space: what would keep this one from starting."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST = 60  # characters of a short description; the Hub refuses a longer one
OLDEST_PYTHON = (3, 11)


def complaints(root: Path) -> list[tuple[str, str]]:
    """What is wrong with the head of `root`/README.md, each with the line that mends it."""
    told = read_front_matter(root / "README.md")
    if told is None:
        fix = "begin README.md with title, sdk, python_version and app_file in YAML between two lines of three dashes"
        return [("README.md begins with nothing that the Hub can read", fix)]
    return list(_complaints(told, root))


def read_front_matter(file: Path) -> dict[str, Any] | None:
    """The block as a table; None where there is none, or it is not YAML."""
    import yaml  # late, as it is missing on a fresh machine

    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|\Z)", file.read_text(encoding="utf-8-sig", errors="replace"), re.DOTALL)
    try:
        told = yaml.safe_load(match[1]) if match else None
    except (yaml.YAMLError, ValueError):  # a date that is none
        return None
    return told if isinstance(told, dict) else None


def _complaints(told: dict[str, Any], root: Path) -> Iterator[tuple[str, str]]:
    if told.get("sdk") != "gradio":
        yield f"sdk is {told.get('sdk')!r}", "sdk: gradio"
    python = str(told.get("python_version") or "")
    match = re.match(r"(\d+)\.(\d+)", python)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_PYTHON:
        said = (
            f"python_version is {python}, which is too old" if match else "python_version is not set: a Space has 3.10"
        )
        yield said, 'python_version: "3.12", in quotes'  # unquoted, 3.10 is the number 3.1
    description = str(told.get("short_description") or "")
    if len(description) > LONGEST:
        yield f"short_description has {len(description)} characters", f"at most {LONGEST} characters"
    for key in ("colorFrom", "colorTo"):
        if key in told and told[key] not in COLOURS:
            yield f"{key} is {told[key]!r}", f"{key}: one of {', '.join(COLOURS)}"
    app = str(told.get("app_file") or "app.py")
    if not (root / app).is_file():
        yield f"app_file is {app!r}, and there is no such file", "app_file: app.py, beside README.md"
