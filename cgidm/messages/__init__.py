"""Everything that is said to a user, as data: a code and its parameters. Sentences are made of them at the edge.

A code is `room.what` ("pictures.too_large"). The English sentence of each code stands in `en/<room>.json`, with
`{parameter}` where a value goes (Python's format strings: `{bytes:,}`). Another language is another folder with the
same codes. Nothing reads a sentence back: code that must know what was said compares codes.

Standard library alone: `verify` and `doctor` answer where nothing else is installed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from .text import single_line

CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")
STOPPED = re.compile(r"\{(\w+)[^{}]*\}[.。]")  # a parameter before a full stop
LONGEST = 600  # characters shown of a parameter
Language = Literal["en", "de", "fr", "es", "ja"]  # that sentences are written in
_folders = [Path(__file__).parent / "en"]


@dataclass(frozen=True)
class Note:
    """One statement: what is meant, and the values in it.

    Attributes:
        code: `room.what`, a key of the tables of messages.
        params: JSON values (texts, numbers, lists of them), by the names that the message uses.
    """

    code: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The English sentence."""
        return render(self.code, self.params)

    def __hash__(self) -> int:
        return hash((self.code, json.dumps(dict(self.params), sort_keys=True, default=str)))


def note(code: str, **params: Any) -> Note:
    """Make a `Note` with keyword parameters."""
    return Note(code, params)


def render(code: str, params: Mapping[str, Any], table: Mapping[str, str] | None = None) -> str:
    """Fill in the sentence of `code`, in English or in the language of `table`.

    Texts from outside become a single printable line; lists are joined by commas; a `Note` among the parameters is
    rendered in the same language. A full stop that a text brings is not doubled. A code that no table holds (a newer
    version's, or a hostile record's) is shown as itself, with its parameters.
    """
    sentence = (table or {}).get(code) or english().get(code)
    if sentence is None:
        return single_line(code if not params else f"{code}: {_listed(params)}", LONGEST)
    try:
        values = {name: _shown(value, table) for name, value in params.items()}
        for name in STOPPED.findall(sentence):  # what a library says may end with one, too
            if isinstance(value := values.get(name), str):
                values[name] = value.removesuffix(".").removesuffix("。")
        return sentence.format(**values)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):  # parameters of another version
        return single_line(f"{code}: {_listed(params)}", LONGEST)


@cache
def english() -> Mapping[str, str]:
    """Every English sentence, by its code."""
    found: dict[str, str] = {}
    for folder in _folders:
        for path in sorted(folder.glob("*.json")):
            table = json.loads(path.read_text(encoding="utf-8"))
            assert not found.keys() & table.keys(), f"{path.name} repeats {found.keys() & table.keys()}"
            found |= table
    return found


@cache
def translations(language: str) -> Mapping[str, str]:
    """Every sentence of another language, by its code; none for English, or for a language that has no folder.

    What is missing is said in English.
    """
    if language not in get_args(Language) or language == "en":
        return {}
    found: dict[str, str] = {}
    for path in sorted((Path(__file__).parent / language).glob("*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def add_messages(folder: Path) -> None:
    """Also look for English sentences in the JSON files of `folder`: those of a program built on this library."""
    if folder not in _folders:
        _folders.append(folder)
        english.cache_clear()


def _shown(value: Any, table: Mapping[str, str] | None) -> Any:
    if isinstance(value, Note):
        return render(value.code, value.params, table)
    if isinstance(value, Mapping) and value.keys() == {"code", "params"}:  # a note that was read from JSON
        return render(str(value["code"]), value["params"], table)
    if isinstance(value, (str, PathLike)):
        return single_line(str(value), LONGEST)
    if isinstance(value, Sequence):
        return ", ".join(str(_shown(part, table)) for part in value)
    return value


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in params.items())
