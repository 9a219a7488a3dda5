"""The files of a model, wherever they lie: names, sizes, a few bytes, and all of it only when asked.

`LocalListing` is a folder here; `hub.HubListing` is a repository on the Hub. What a model is, is said from a `Listing`
alone, so that inspecting a repository downloads no weight.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..errors import UserError

MAX_FILES = 10_000  # names in one folder; a model has tens, a home directory has more


@dataclass(frozen=True)
class About:
    """What the Hub says of a repository."""

    repo: str  # its id today
    sha: str  # the commit that was read
    asked: str  # the id that was asked for; another one if the repository has moved
    licence: str | None = None
    gated: bool = False
    base_models: tuple[str, ...] = ()  # the card's and the tags', written by its owner
    prompt: str | None = None  # the card's instance_prompt
    cached: bool = False  # read from the local cache, the Hub not asked


@runtime_checkable
class Listing(Protocol):
    """A folder of files, here or on the Hub."""

    @property
    def name(self) -> str: ...  # as people call it; with the commit if it has one

    @property
    def sizes(self) -> Mapping[str, int]: ...  # file, as a posix path inside the folder -> bytes

    @property
    def about(self) -> About | None: ...

    def read(self, file: str, start: int, end: int) -> bytes: ...  # bytes start to end of a file

    def sha256(self, file: str) -> str: ...

    def stated_sha256(self, file: str) -> str | None: ...  # without downloading; None where nobody states it

    def fetch(self, files: Sequence[str]) -> Path: ...  # a local folder in which these files lie


@dataclass(frozen=True)
class LocalListing:
    """A folder on this machine, or one file of it and its neighbours."""

    folder: Path
    only: tuple[str, ...] | None = None  # the files to list; None: all
    label: str = ""  # instead of the folder's path
    about: About | None = None
    _cache: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.label or str(self.folder)

    @property
    def sizes(self) -> Mapping[str, int]:
        return self._sizes

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        names = self._walk() if self.only is None else self.only
        return {name: (self.folder / name).stat().st_size for name in names if (self.folder / name).is_file()}

    def read(self, file: str, start: int, end: int) -> bytes:
        with (self.folder / file).open("rb") as opened:
            opened.seek(start)
            return opened.read(end - start)

    def sha256(self, file: str) -> str:
        if file not in self._cache:
            with (self.folder / file).open("rb") as opened:
                self._cache[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        return self._cache[file]

    def stated_sha256(self, file: str) -> str | None:
        return self.sha256(file)

    def fetch(self, files: Sequence[str]) -> Path:
        return self.folder

    def _walk(self) -> Sequence[str]:
        found: list[str] = []
        for folder, _, files in os.walk(self.folder):
            found += [(Path(folder) / file).relative_to(self.folder).as_posix() for file in files]
            if len(found) > MAX_FILES:
                raise UserError(f"{self.name} holds more than {MAX_FILES:,} files; accepted: the folder of one model")
        return sorted(found)
