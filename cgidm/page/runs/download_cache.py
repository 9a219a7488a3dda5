"""Downloads: kept for the next visitor up to a limit; those used longest ago go first, so that the disk never fills."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from cgidm import UserError
from cgidm.intake.civitai.cache import cache_folder
from cgidm.intake.layout import Checkpoint

from .model_cache import OpenedModels

MAX_KEPT = int(float(os.environ.get("CGIDM_MAX_CACHE_GB", "35")) * 1e9)
SPARE = 2_000_000_000  # bytes of the disk that downloads leave free


@dataclass(frozen=True)
class _Download:
    """A repository of the Hub, or a file of Civitai, on this disk."""

    name: str  # the repository's id, or the file's SHA-256
    folder: Path
    size: int  # bytes
    used: float  # when it was read last, in seconds since 1970


def fetch_models(*models: OpenedModels | None) -> None:
    """Download what a run needs and is not here yet, after making room for it. It needs no GPU.

    Args:
        models: those of the run; None counts for nothing.

    Raises:
        UserError: if there is no room, or the Hub or Civitai does not hand it out.
    """
    checkpoints = _checkpoints(models)
    make_room(bytes_needed(*models), {name for checkpoint in checkpoints for name in _names(checkpoint)})
    for checkpoint in checkpoints:
        checkpoint.fetch()


def bytes_needed(*models: OpenedModels | None) -> int:
    """Count the bytes of the models' weights elsewhere, each file once; those that are here already count too."""
    sizes = {}
    for checkpoint in _checkpoints(models):
        if (about := checkpoint.listing.about) is not None:
            sizes |= {(about.repo, about.sha, file): checkpoint.listing.sizes[file] for file in checkpoint.weights}
    return sum(sizes.values())


def _checkpoints(models: Iterable[OpenedModels | None]) -> list[Checkpoint]:
    return [checkpoint for m in models if m is not None for checkpoint in (m.base, m.suspect)]


def _names(checkpoint: Checkpoint) -> Iterator[str]:
    """What the downloads of a checkpoint go by."""
    listing = checkpoint.listing
    if listing.about is not None and listing.about.publication is None:
        yield listing.about.repo
    elif listing.about is not None:
        yield from (digest for file in checkpoint.weights if (digest := listing.stated_sha256(file)))


def make_room(needed: int, keep: Iterable[str] = ()) -> None:
    """Delete downloads, those used longest ago first, until `needed` bytes fit; never those in `keep`.

    Args:
        needed: bytes.
        keep: ids of repositories of the Hub, and SHA-256 of files of Civitai.

    Raises:
        UserError: if the disk is too small even so.
    """
    cache, kept = Path(constants.HF_HUB_CACHE), set(keep)
    cache.mkdir(parents=True, exist_ok=True)
    known = [*_repositories(cache), *_civitai_files()]
    others = sorted((d for d in known if d.name not in kept), key=lambda d: d.used)
    there = sum(d.size for d in known)
    present = sum(d.size for d in known if d.name in kept)
    missing = max(0, needed - present)
    for download in others:
        if there + missing <= MAX_KEPT and shutil.disk_usage(cache).free >= missing + SPARE:
            return
        shutil.rmtree(download.folder, ignore_errors=True)  # by path: copies of a repository share commits
        there -= download.size
    if missing and shutil.disk_usage(cache).free < missing + SPARE:
        free = shutil.disk_usage(cache).free / 1e9
        raise UserError("page.disk_full", needed=missing / 1e9, free=free)


def _repositories(cache: Path) -> Iterator[_Download]:
    try:
        known = scan_cache_dir(cache)
    except CacheNotFound:
        return
    yield from (_Download(r.repo_id, r.repo_path, r.size_on_disk, r.last_accessed) for r in known.repos)


def _civitai_files() -> Iterator[_Download]:
    for folder in cache_folder().glob("[0-9a-f]*"):
        stats = [file.stat() for file in folder.iterdir()]
        yield _Download(folder.name, folder, sum(s.st_size for s in stats), max((s.st_atime for s in stats), default=0))
