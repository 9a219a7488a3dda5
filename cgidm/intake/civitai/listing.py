"""A version on Civitai as a `Listing` of one file: headers by range requests, the whole file only on request."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..listing import About, LocalListing
from .answers import CivitaiError, CivitaiNotFound, CivitaiUnreachable
from .cache import find_cached, find_description, store, store_description
from .client import open_address, request_description
from .location import FULL_HOST, CivitaiSource
from .version import ModelVersion, choose_file, describe_publication, newest_version, read_version

FIRST_READ = 100_000  # bytes of the file in the first request: most headers are shorter
PIECE = 1_000_000  # bytes


@dataclass(frozen=True, kw_only=True)
class CivitaiListing:
    """The file of a version that was named, or its primary file."""

    name: str  # the short AIR
    about: About
    file: str
    size: int  # bytes, as the storage states them
    stated: Mapping[str, str]  # its digests
    url: str
    max_download: int  # bytes
    progress: bool = False  # draw a bar while downloading
    early_access: str | None = None
    key: str | None = field(default=None, repr=False)  # the person's API key
    start: bytes = field(default=b"", repr=False)  # the first bytes of the file
    description: Mapping[str, Any] = field(default_factory=dict, repr=False)  # the site's, of the version
    _folders: list[Path] = field(default_factory=list, repr=False, compare=False)

    @property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of the one file."""
        return {self.file: self.size}

    def read(self, file: str, start: int, end: int) -> bytes:
        """Read the bytes from `start` up to `end` of the file, by a range request.

        Raises:
            CivitaiError: if Civitai does not hand them out.
        """
        end = min(end, self.size)
        if end <= len(self.start):
            return self.start[start:end]
        if (cached := self._cached()) is not None:
            return LocalListing(cached).read(file, start, end)
        return _read_range(self.url, self.name, self.key, start, end, self.early_access)[0]

    def sha256(self, file: str) -> str:
        """The SHA-256 of the file, in hex digits; one that Civitai does not state is computed from the file."""
        return self.stated.get("SHA256") or LocalListing(self.fetch([file])).sha256(file)

    def stated_sha256(self, file: str) -> str | None:
        """The SHA-256 of the file, if Civitai states it."""
        return self.stated.get("SHA256")

    def fetch(self, files: Sequence[str]) -> Path:
        """Download the file into the local cache, unless it is there, and return its folder.

        Raises:
            CivitaiError: if it is too large, is not handed out, or is not what Civitai states.
        """
        if (cached := self._cached()) is not None:
            return cached
        if self.size > self.max_download:
            gigabytes = {"needed": self.size / 1e9, "most": self.max_download / 1e9}
            raise CivitaiError("intake.hub_download_too_large", name=self.name, **gigabytes)
        with tqdm(total=self.size, unit="B", unit_scale=True, desc=self.file, disable=not self.progress) as bar:
            path = store(self._pieces(bar), self.file, self.size, self.stated)
        store_description(path.parent, int(self.about.sha.partition("+")[0]), self.description)
        self._folders.append(path.parent)
        return path.parent

    def _cached(self) -> Path | None:
        if self._folders:
            return self._folders[0]
        path = find_cached(self.stated.get("SHA256"), self.file)
        return None if path is None else path.parent

    def _pieces(self, bar: tqdm) -> Iterator[bytes]:
        try:
            with open_address(self.url, self.name, self.key) as answer:
                if not answer.is_file:
                    raise CivitaiError("intake.civitai_web_page", name=self.name)
                while piece := answer.read(PIECE):
                    yield piece
                    bar.update(len(piece))
        except CivitaiError as error:
            raise _explain_download(error, self.name, self.early_access) from error


def open_version(source: CivitaiSource, key: str | None, max_download: int, progress: bool = False) -> CivitaiListing:
    """Look up a version, choose its file, and read the beginning of it.

    A model that one name of the site does not know is looked for under the name that holds all. Without a network, a
    version whose file is in the local cache is opened from there, and `About.cached` is set.

    Args:
        source: the model or version.
        key: the person's own API key, if any.
        max_download: bytes that `fetch` may download.
        progress: draw a bar while downloading.

    Raises:
        CivitaiError: if it is missing, sold, locked, rate-limited, out of reach, or holds no safetensors weights.
    """
    host, unreachable = source.host, None
    try:
        answer, of = _look_up(source, host, key)
    except CivitaiNotFound:
        if host == FULL_HOST:
            raise
        host = FULL_HOST
        answer, of = _look_up(source, host, key)
    except CivitaiUnreachable as error:
        answer, of, unreachable = None if source.version is None else find_description(source.version), None, error
        if answer is None:
            raise
    version = _read(answer, source)
    if not version.downloadable:
        raise CivitaiError("intake.civitai_no_download", name=source.name)
    file = choose_file(version, source)
    publication = describe_publication(version, file, of)
    name = CivitaiSource(version.model, version.number, file.number).name
    url = f"https://{host}/api/download/models/{version.number}?fileId={file.number}"
    cached = find_cached(file.digests.get("SHA256"), file.name)
    start, size = b"", 0 if cached is None else cached.stat().st_size
    if cached is None:
        if unreachable is not None:
            raise unreachable
        start, size = _read_range(url, name, key, 0, FIRST_READ, version.early_access)
    about = About(
        repo=f"civitai:{version.model}",
        sha=f"{version.number}+{file.number}",
        requested_id=f"civitai:{version.model}",
        base_models=(version.base_model,) if version.base_model else (),
        prompt=version.trained_words[0] if version.trained_words else None,
        cached=unreachable is not None,
        publication=publication,
        retrieved=None if unreachable is not None else datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return CivitaiListing(
        name=name,
        about=about,
        file=file.name,
        size=size,
        stated=file.digests,
        url=url,
        max_download=max_download,
        progress=progress,
        early_access=version.early_access,
        key=key,
        start=start,
        description=answer,
    )


def look_up_version(source: CivitaiSource, key: str | None = None) -> ModelVersion:
    """Look up what is stated of a version, and nothing of its files' bytes.

    A model that one name of the site does not know is looked for under the name that holds all.

    Args:
        source: the model or version.
        key: the person's own API key, if any.

    Raises:
        CivitaiError: if it is missing, or out of reach.
    """
    try:
        answer, _ = _look_up(source, source.host, key)
    except CivitaiNotFound:
        if source.host == FULL_HOST:
            raise
        answer, _ = _look_up(source, FULL_HOST, key)
    return _read(answer, source)


def _look_up(source: CivitaiSource, host: str, key: str | None) -> tuple[Any, int | None]:
    """What the site states of the version, and the number of published ones if none was named."""
    number, of, name = source.version, None, source.name
    if number is None:
        number, of = newest_version(request_description(host, f"models/{source.model}", name, key), name)
    answer = request_description(host, f"model-versions/{number}", name, key)
    if read_version(answer, name).number != number:
        raise CivitaiError("intake.civitai_unexpected", name=name)
    return answer, of


def _read(answer: Any, source: CivitaiSource) -> ModelVersion:
    version = read_version(answer, source.name)
    if source.model not in (None, version.model):
        numbers = {"model": source.model, "version": version.number, "other": version.model}
        raise CivitaiError("intake.civitai_other_model", **numbers)
    return version


def _read_range(
    url: str, name: str, key: str | None, start: int, end: int, early_access: str | None
) -> tuple[bytes, int]:
    """The bytes of a file from `start` up to `end`, and its size."""
    try:
        with open_address(url, name, key, (start, end)) as answer:
            if not answer.is_file:
                raise CivitaiError("intake.civitai_web_page", name=name)
            if answer.size is None:
                raise CivitaiError("intake.civitai_unexpected", name=name)
            if not answer.partial:  # the storage may ignore the range, and then sends all
                left = start
                while left and (piece := answer.read(min(left, PIECE))):
                    left -= len(piece)
            return answer.read(end - start), answer.size
    except CivitaiError as error:
        raise _explain_download(error, name, early_access) from error


def _explain_download(error: CivitaiError, name: str, early_access: str | None) -> CivitaiError:
    """What a refusal means of a version that is known."""
    today = datetime.now(UTC).date().isoformat()
    sold = early_access is not None and (not early_access or early_access[:10] >= today)
    if error.code in ("intake.civitai_gated", "intake.civitai_forbidden") and sold:
        return CivitaiError("intake.civitai_early_access", name=name, until=(early_access or "?")[:10])
    if isinstance(error, CivitaiNotFound):
        return CivitaiError("intake.civitai_no_download", name=name)
    return error
