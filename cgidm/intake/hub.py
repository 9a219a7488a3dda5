"""A repository on the Hub as a `Listing`: its commit is resolved first, then only the necessary bytes are read.

A token is used only if the caller passes one: a visitor's own, never the operator's. Every refusal or failure of the
Hub becomes one `UserError` (`hub_answers`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, tqdm

from .hub_answers import HubError, HubUnreachable, explain_hub_errors
from .listing import About, LocalListing
from .source import HubSource

TIMEOUT = 10  # seconds to wait for an answer
MAX_DOWNLOAD = 130_000_000_000  # bytes of one model; FLUX.1 has 34 GB, FLUX.2 dev 112 GB
FIRST_READ = 100_000  # bytes of a file in the first request: most headers are shorter


class _Quiet(tqdm):
    """No progress bar: a library draws none."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{**kwargs, "disable": True})


@dataclass(frozen=True, kw_only=True)
class HubListing:
    """The files of one commit of a repository."""

    about: About
    sizes: Mapping[str, int]
    digests: Mapping[str, str]  # file -> SHA-256, of the large files
    token: str | None = field(default=None, repr=False)
    max_download: int = MAX_DOWNLOAD  # bytes
    progress: bool = False  # draw a bar while downloading
    _starts: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The repository with its commit."""
        return f"{self.about.repo}@{self.about.sha[:12]}"

    def read(self, file: str, start: int, end: int) -> bytes:
        """Read the bytes from `start` up to `end` of a file, by a range request.

        Raises:
            HubError: if the Hub does not hand them out.
        """
        if file not in self._starts:
            self._starts[file] = self._request(file, 0, min(max(FIRST_READ, end), self.sizes[file]))
        known = self._starts[file]
        return known[start:end] if end <= len(known) else self._request(file, start, end)

    def sha256(self, file: str) -> str:
        """The SHA-256 of a file, in hex digits. The Hub states it for large files; a small file is fetched."""
        return self.digests.get(file) or LocalListing(self.fetch([file])).sha256(file)

    def stated_sha256(self, file: str) -> str | None:
        """The SHA-256 of a file, if the Hub states it."""
        return self.digests.get(file)

    def fetch(self, files: Sequence[str]) -> Path:
        """Download `files` into the local cache, unless they are there, and return their folder.

        Raises:
            HubError: if they are too large together, the Hub does not hand them out, or one arrives damaged.
        """
        total = sum(self.sizes[f] for f in files)
        if total > self.max_download:
            gigabytes = {"needed": total / 1e9, "most": self.max_download / 1e9}
            raise HubError("intake.hub_download_too_large", name=self.name, **gigabytes)
        bar = None if self.progress else _Quiet
        folder = Path()
        with explain_hub_errors(self.about.requested_id, self.about.sha):
            for file in files:
                options = {"revision": self.about.sha, "endpoint": endpoint(), "token": self.token or False}
                path = Path(hf_hub_download(self.about.repo, file, tqdm_class=bar, etag_timeout=TIMEOUT, **options))
                folder = path.parents[file.count("/")]
        arrived = LocalListing(folder)
        for file in files:
            if file in self.digests and arrived.sha256(file) != self.digests[file]:
                raise HubError("intake.hub_damaged", file=f"{self.name}/{file}")
        return folder

    def _request(self, file: str, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        url = hf_hub_url(self.about.repo, file, revision=self.about.sha, endpoint=endpoint())
        headers = {**build_hf_headers(token=self.token or False), "Range": f"bytes={start}-{end - 1}"}
        data = b""
        with (
            explain_hub_errors(self.about.requested_id, self.about.sha),
            get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as answer,
        ):
            if answer.status_code >= 400:
                answer.read()
            hf_raise_for_status(answer)
            skip = 0 if answer.status_code == 206 else start  # a server may ignore the range, and then sends all
            for piece in answer.iter_bytes():
                data += piece
                if len(data) >= skip + end - start:
                    break
        return data[skip : skip + end - start]


def open_repository(
    source: HubSource, token: str | None = None, max_download: int = MAX_DOWNLOAD, progress: bool = False
) -> HubListing | LocalListing:
    """List the files of `source.repo` at the commit that `source.revision` means now.

    Without a network the local cache is listed, and `About.cached` is set.

    Args:
        source: the repository and revision.
        token: the visitor's own, if any.
        max_download: bytes that `fetch` may download.
        progress: draw a bar while downloading.

    Raises:
        HubError: if it is gated, missing, rate-limited or out of reach.
    """
    try:
        with explain_hub_errors(source.requested_id, source.revision):
            api = HfApi(endpoint=endpoint(), token=token or False)
            info = api.model_info(source.repo, revision=source.revision, files_metadata=True, timeout=TIMEOUT)
    except HubUnreachable as error:
        return _cached(source, error)
    if not info.sha:
        raise HubError("intake.hub_no_commit", repo=source.requested_id)
    siblings = info.siblings or []
    card = info.card_data.to_dict() if info.card_data else {}
    about = About(
        repo=info.id,
        sha=info.sha,
        requested_id=source.requested_id,
        licence=_text(card.get("license_name")) or _text(card.get("license")),
        gated=bool(info.gated),
        base_models=_base_models(card.get("base_model"), info.tags or []),
        prompt=_text(card.get("instance_prompt")),
    )
    sizes = {s.rfilename: s.size or 0 for s in siblings}
    digests = {s.rfilename: s.lfs.sha256 for s in siblings if s.lfs is not None}
    return HubListing(
        about=about, sizes=sizes, digests=digests, token=token, max_download=max_download, progress=progress
    )


def _cached(source: HubSource, error: HubUnreachable) -> LocalListing:
    """List the cached revision that was requested; without one, that of the default branch, or the newest commit."""
    cache = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=source.repo, repo_type="model")
    commits = sorted((cache / "snapshots").glob("*"), key=lambda folder: folder.stat().st_mtime)
    wanted = source.revision or "main"
    ref = cache / "refs" / wanted
    names = [ref.read_text().strip() if ref.is_file() else wanted]
    names += [folder.name for folder in commits[-1:]] if source.revision is None else []
    folder = next((cache / "snapshots" / name for name in names if (cache / "snapshots" / name).is_dir()), None)
    if folder is None:
        raise error
    about = About(repo=source.repo, sha=folder.name, requested_id=source.requested_id, cached=True)
    return LocalListing(folder, label=f"{source.repo}@{folder.name[:12]}", about=about)


def _base_models(named: Any, tags: Sequence[str]) -> tuple[str, ...]:
    """The card's `base_model`, one or several, and the Hub's tags `base_model:<relation>:<id>`."""
    from_card = named if isinstance(named, list) else [named]
    from_tags = [t.rsplit(":", 1)[1] for t in tags if t.startswith("base_model:")]
    return tuple(dict.fromkeys(t for n in (*from_card, *from_tags) if (t := _text(n))))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def endpoint() -> str:
    """The address of the Hub, or of its mirror: HF_ENDPOINT."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
