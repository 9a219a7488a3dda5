"""The command line in process: what it answered as data, and all that it printed."""

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cgidm import families
from cgidm.errors import UserError
from cgidm.messages import Note
from tests.support.copied_bases import copy_base

COMMAND_LINE, AUTHENTICATE = (importlib.import_module(f"cgidm.cli.{name}") for name in ("main", "authenticate"))
load_embedders = cache(AUTHENTICATE.load_embedders)
QUICK = ("--preset", "fast", "--steps", "1", "--out")


@dataclass
class Answer:
    """What a command answered.

    Attributes:
        exit: its exit code.
        data: the record, or what `inspect --json` prints; empty if it refused.
        error: the refusal.
        said: notes that only the terminal is told.
        pairs: the pairs of models that were loaded.
        out: the folder of the evidence.
        printed: standard output and standard error.
    """

    exit: int
    out: Path
    data: dict[str, Any] = field(default_factory=dict)
    error: UserError | None = None
    said: list[Note] = field(default_factory=list)
    pairs: list[Any] = field(default_factory=list)
    printed: tuple[str, str] = ("", "")

    def value(self, path: str) -> Any:
        """What stands at a path of dots: "pictures.0.outcome", "pictures.0.flags.*.name"."""
        return _value(self.data, path.split("."))

    def notes(self) -> list[str]:
        """The codes of all that is said of the model."""
        if "models" not in self.data:  # of `inspect`
            lost = (self.data["adapter"] or {}).get("lost_alpha")
            return [note["code"] for note in [*self.data["remarks"], *([lost] if lost else [])]]
        models = self.data["models"]
        warnings = [models["warning"]] if models["warning"] else []
        return [note["code"] for note in (*warnings, *models["remarks"], *models["notes"])]


def _value(data: Any, steps: Sequence[str]) -> Any:
    if not steps:
        return data
    step, *rest = steps
    if step == "*":
        return [_value(part, rest) for part in data]
    return _value(data[int(step)] if isinstance(data, list) else data[step], rest)


def run_command(arguments: Sequence[str], out: Path, patch: pytest.MonkeyPatch, capture: Any) -> Answer:
    """Run the command line, quickly, and keep what it answered; bases and embedders are read once.

    Args:
        arguments: of the command; `authenticate` gets few steps and a folder for its evidence.
        out: that folder.
        patch: undone by the caller.
        capture: pytest's `capfd`.
    """
    answer, load, show = Answer(-1, out), families.load_pair, COMMAND_LINE.print_line

    def keep_pair(*args: Any, **options: Any) -> Any:
        answer.pairs.append(load(*args, **options))
        return answer.pairs[-1]

    def keep_line(text: object, *, to_stderr: bool = False) -> None:
        if isinstance(error := sys.exception(), UserError):  # `main` prints it where it catches it
            answer.error = error
        if isinstance(text, Note):
            answer.said.append(text)
        show(text, to_stderr=to_stderr)

    patch.setattr(families, "load_pair", keep_pair)
    patch.setattr("cgidm.families.load.load_pipeline", copy_base)
    patch.setattr(AUTHENTICATE, "load_embedders", load_embedders)
    for module in (COMMAND_LINE, AUTHENTICATE):
        patch.setattr(module, "print_line", keep_line)
    judging = arguments[0] == "authenticate"
    capture.readouterr()
    answer.exit = COMMAND_LINE.main([*arguments, *((*QUICK, str(out)) if judging else ())])
    answer.printed = tuple(capture.readouterr())
    if answer.exit == 0 and judging:
        answer.data = json.loads((out / "result.json").read_text(encoding="utf-8"))
    elif answer.exit == 0:
        assert COMMAND_LINE.main([*arguments, "--json"]) == 0
        answer.data = json.loads(capture.readouterr().out)
    return answer
