"""The block at the head of README.md from which the Hub makes a Space: what would keep this one from starting."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..messages import Note, note

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST = 60  # characters of a short description; the Hub refuses a longer one
OLDEST_PYTHON = (3, 11)

Problem = tuple[Note, Note]  # and its fix


def front_matter_problems(root: Path) -> list[Problem]:
    """The problems in the head of `root`/README.md, each with its fix."""
    table = read_front_matter(root / "README.md")
    if table is None:
        return [(note("doctor.no_front_matter"), note("doctor.fix_no_front_matter"))]
    return list(_problems(table, root))


def read_front_matter(file: Path) -> dict[str, Any] | None:
    """The block as a table; None if there is none, or it is not YAML."""
    import yaml  # late, as it is missing on a fresh machine

    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|\Z)", file.read_text(encoding="utf-8-sig", errors="replace"), re.DOTALL)
    try:
        table = yaml.safe_load(match[1]) if match else None
    except (yaml.YAMLError, ValueError):  # ValueError: an impossible date
        return None
    return table if isinstance(table, dict) else None


def _problems(table: dict[str, Any], root: Path) -> Iterator[Problem]:
    def line(text: str) -> Note:
        return note("doctor.fix_front_matter", line=text)

    if table.get("sdk") != "gradio":
        yield note("doctor.front_matter_sdk", value=str(table.get("sdk"))), line("sdk: gradio")
    python = str(table.get("python_version") or "")
    match = re.match(r"(\d+)\.(\d+)", python)
    if match is None:
        yield note("doctor.front_matter_no_python"), note("doctor.fix_front_matter_python")
    elif (int(match[1]), int(match[2])) < OLDEST_PYTHON:  # unquoted, 3.10 is the number 3.1
        yield note("doctor.front_matter_python", value=python), note("doctor.fix_front_matter_python")
    description = str(table.get("short_description") or "")
    if len(description) > LONGEST:
        problem = note("doctor.front_matter_description", most=LONGEST, count=len(description))
        yield problem, note("doctor.fix_front_matter_description")
    for key in ("colorFrom", "colorTo"):
        if key in table and table[key] not in COLOURS:
            problem = note("doctor.front_matter_colour", key=key, colours=list(COLOURS), value=str(table[key]))
            yield problem, line(f"{key}: {COLOURS[0]}")
    app = str(table.get("app_file") or "app.py")
    if not (root / app).is_file():
        yield note("doctor.front_matter_app", value=app), line("app_file: app.py")
