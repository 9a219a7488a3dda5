"""A row of the tables of formats: who writes a suspect, on which base, and what is damaged in it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Format:
    """A row of the table of what loads."""

    name: str
    base: str  # of BASES
    write: Callable[[Path, Any], None]  # (folder, pipeline): the pipeline becomes what the suspect means
    file: str  # the one that is tampered with
    key: str = ""  # its tensor that is lost, renamed, transposed; empty: the first matrix that is no square
    given: str = ""  # what is named of the folder; empty: the folder
    embedding: str = ""  # the file of a textual inversion beside it
    prompt: str = "a b"


@dataclass(frozen=True)
class Refusal:
    """A row of the table of what is refused by name."""

    name: str
    made_for: str
    write: Callable[[Path], None]  # the file `name` in a folder
    code: str  # of the refusal
    says: str  # what the sentence names: a family, a method, a part
    base: str = "SD 1.x"  # with which it is offered
    family: str | None = None  # as `inspect` tells it; None: it may be anything
    given: str = "lora.safetensors"
