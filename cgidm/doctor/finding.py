"""What one check of the doctor found, and how it is printed. Standard library alone."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..messages import Note, note

PIP = "python -m pip install"
REINSTALL = f"{PIP} --force-reinstall torch torchvision"

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The state of one thing, and what to do if it is not ok."""

    name: str
    status: Status
    note: Note
    fix: Note | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: codes for programs, English sentences for people."""
        return {
            "name": self.name,
            "status": self.status,
            "code": self.note.code,
            "params": dict(self.note.params),
            "message": str(self.note),
            "fix": "" if self.fix is None else str(self.fix),
        }


def command_fix(command: str) -> Note:
    """The fix that is a command to run."""
    return note("doctor.fix_command", command=command)


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """One line for each finding, its fix below it, and the counts of errors and warnings at the end."""
    lines = []
    for f in findings:
        lines.append(f"{f.status:9s}{f.name}: {f.note}")
        lines += [f"{'':9s}fix: {f.fix}"] if f.fix is not None else []
    errors, warnings = (sum(f.status == status for f in findings) for status in ("error", "warning"))
    return [*lines, str(note("doctor.summary", errors=errors, warnings=warnings))]


def shorten_home(text: object) -> str:
    """Replace the home folder by `~`: it names the user."""
    home = os.path.expanduser("~").rstrip("/")
    return str(text).replace(f"{home}/", "~/") if home else str(text)


def first_line(error: object) -> str:
    """The first line of an error, without the name of the user."""
    return shorten_home((str(error).strip().splitlines() or [type(error).__name__])[0])
