"""The cases as they are written down."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.cases.given import Given
from tests.support.cases.recipes import RECIPES
from tests.support.paths import ROOT

FOLDER = ROOT / "tests" / "cases"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command, and the right answer.

    Attributes:
        command: its arguments, with places in braces: {input}, {picture}, {controls}, {lora}, {base:NAME}.
        exit: 0 if it answers, 2 if it refuses.
        error: the code of the refusal.
        params: some of the refusal's parameters; a note among them is its code and parameters.
        values: what must be read: a path into the record, or into what `inspect --json` prints -> the value.
        notes: the codes of all that is said of the model.
        said: the codes of what the terminal alone is told.
        exact: whether the suspect must compute what its recipe means, to 1e-5.
        pixels: how far the picture may be from what its recipe means: the mean difference, of 255.
    """

    command: tuple[str, ...]
    exit: int
    error: str | None = None
    params: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    notes: tuple[str, ...] | None = None
    said: tuple[str, ...] = ()
    exact: bool = False
    pixels: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """An input that somebody met.

    Attributes:
        id: the name of its folder.
        reports: where it is public: addresses, or in words whose files are such.
        given: what the input is.
        right: what a right answer is.
        input: the recipe that makes it, and its parameters.
        runs: what is done with it.
        pages: whether the report on paper is written, too.
        slow: whether it takes more than a few seconds.
    """

    id: str
    reports: tuple[str, ...]
    given: str
    right: str
    input: Mapping[str, Any]
    runs: tuple[Run, ...]
    pages: bool = False
    slow: bool = False

    def make(self, folder: Path) -> Given:
        """Make the input in an empty folder."""
        parameters = dict(self.input)
        return RECIPES[parameters.pop("recipe")](folder, **parameters)


def read_cases() -> list[Case]:
    """Every case, by the names of their folders."""
    return [_read(path) for path in sorted(FOLDER.glob("*/*/case.json"))]


def _read(path: Path) -> Case:
    table = json.loads(path.read_text(encoding="utf-8"))
    runs = tuple(Run(**{k: tuple(v) if isinstance(v, list) else v for k, v in run.items()}) for run in table["runs"])
    return Case(**{**table, "reports": tuple(table["reports"]), "runs": runs})
