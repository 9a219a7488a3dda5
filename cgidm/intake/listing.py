"""The files of a model, wherever they lie: names, sizes, single byte ranges, and whole files only on request.

`LocalListing` is a folder on this machine, `hub.HubListing` a repository on the Hub, `civitai.listing.CivitaiListing` a
version on Civitai. A `Listing` is all that `layout` reads, so inspecting a repository downloads no weights.
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


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What Civitai states of a version and its file: a name by its owner, a date and digests by the site."""

    air: str  # urn:air:ECOSYSTEM:TYPE:civitai:MODEL@VERSION+FILE
    model_name: str
    version_name: str
    file: str
    published: str | None  # ISO 8601; its owner may have exchanged files since
    base_model: str | None
    trained_words: tuple[str, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)  # "SHA256", "AutoV2", "AutoV3", in hex digits
    newest_of: int | None = None  # published versions, if the newest was taken because none was named


@dataclass(frozen=True, kw_only=True)
class About:
    """What the Hub states about a repository, or Civitai about a version."""

    repo: str  # its id today; "civitai:" and the model's number
    sha: str  # the commit that was read; the numbers of version and file
    requested_id: str  # the id that was requested; it differs if the repository has moved
    licence: str | None = None
    gated: bool = False
    base_models: tuple[str, ...] = ()  # the card's and the tags', written by its owner
    prompt: str | None = None  # the card's instance_prompt
    cached: bool = False  # read from the local cache, without the Hub
    publication: Publication | None = None  # of Civitai alone
    published: str | None = None  # date of that commit, as the Hub states it; ISO 8601
    retrieved: str | None = field(default=None, compare=False)  # when it was looked up; None: from the local cache


@runtime_checkable
class Listing(Protocol):
    """A folder of files, here, on the Hub or on Civitai. Files are named by posix paths inside the folder."""

    @property
    def name(self) -> str:
        """The folder's path, or the repository with its commit."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each file."""
        ...

    @property
    def about(self) -> About | None:
        """What the Hub or Civitai states about it; None for a folder."""
        ...

    def read(self, file: str, start: int, end: int) -> bytes:
        """Read the bytes from `start` up to `end` of a file."""
        ...

    def sha256(self, file: str) -> str:
        """The SHA-256 of a file, in hex digits."""
        ...

    def stated_sha256(self, file: str) -> str | None:
        """The SHA-256 of a file as far as it is known without a download."""
        ...

    def fetch(self, files: Sequence[str]) -> Path:
        """Make `files` available in a local folder, and return the folder."""
        ...


@dataclass(frozen=True)
class LocalListing:
    """A folder on this machine, or some of its files."""

    folder: Path
    only: tuple[str, ...] | None = None  # the files to list; None: all
    label: str = ""  # instead of the folder's path
    about: About | None = None
    _cache: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The folder's path, or the label."""
        return self.label or str(self.folder)

    @property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each file."""
        return self._sizes

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        names = self._walk() if self.only is None else self.only
        return {name: (self.folder / name).stat().st_size for name in names if (self.folder / name).is_file()}

    def read(self, file: str, start: int, end: int) -> bytes:
        """Read the bytes from `start` up to `end` of a file."""
        with (self.folder / file).open("rb") as opened:
            opened.seek(start)
            return opened.read(end - start)

    def sha256(self, file: str) -> str:
        """The SHA-256 of a file, in hex digits; computed once."""
        if file not in self._cache:
            with (self.folder / file).open("rb") as opened:
                self._cache[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        return self._cache[file]

    def stated_sha256(self, file: str) -> str | None:
        """The same as `sha256`: no download is needed."""
        return self.sha256(file)

    def fetch(self, files: Sequence[str]) -> Path:
        """Return the folder, in which the files already lie."""
        return self.folder

    def _walk(self) -> Sequence[str]:
        found: list[str] = []
        for folder, _, files in os.walk(self.folder):
            found += [(Path(folder) / file).relative_to(self.folder).as_posix() for file in files]
            if len(found) > MAX_FILES:
                raise UserError("intake.too_many_files", name=self.name, most=MAX_FILES)
        return sorted(found)
