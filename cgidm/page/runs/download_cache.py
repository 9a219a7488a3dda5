"""Downloads: kept for the next visitor up to a limit; those used longest ago go first, so that the disk never fills."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from cgidm import UserError
from cgidm.intake.layout import Checkpoint

from .model_cache import OpenedModels

MAX_KEPT = int(float(os.environ.get("CGIDM_MAX_CACHE_GB", "35")) * 1e9)
SPARE = 2_000_000_000  # bytes of the disk that downloads leave free


def fetch_models(*models: OpenedModels | None) -> None:
    """Download what a run needs and is not here yet, after making room for it. It needs no GPU.

    Args:
        models: those of the run; None counts for nothing.

    Raises:
        UserError: if there is no room, or the Hub does not hand it out.
    """
    checkpoints = _checkpoints(models)
    make_room(bytes_needed(*models), {c.listing.about.repo for c in checkpoints if c.listing.about is not None})
    for checkpoint in checkpoints:
        checkpoint.fetch()


def bytes_needed(*models: OpenedModels | None) -> int:
    """Count the bytes of the models' weights on the Hub, each file once; those that are here already count too."""
    sizes = {}
    for checkpoint in _checkpoints(models):
        if (about := checkpoint.listing.about) is not None:
            sizes |= {(about.repo, about.sha, file): checkpoint.listing.sizes[file] for file in checkpoint.weights}
    return sum(sizes.values())


def _checkpoints(models: Iterable[OpenedModels | None]) -> list[Checkpoint]:
    return [checkpoint for m in models if m is not None for checkpoint in (m.base, m.suspect)]


def make_room(needed: int, keep: Iterable[str] = ()) -> None:
    """Delete downloaded repositories, those used longest ago first, until `needed` bytes fit; never those in `keep`.

    Raises:
        UserError: if the disk is too small even so.
    """
    cache, kept = Path(constants.HF_HUB_CACHE), set(keep)
    cache.mkdir(parents=True, exist_ok=True)
    try:
        known = scan_cache_dir(cache)
    except CacheNotFound:
        return
    others = sorted((r for r in known.repos if r.repo_id not in kept), key=lambda r: r.last_accessed)
    there = sum(r.size_on_disk for r in known.repos)
    present = sum(r.size_on_disk for r in known.repos if r.repo_id in kept)
    missing = max(0, needed - present)
    for repo in others:
        if there + missing <= MAX_KEPT and shutil.disk_usage(cache).free >= missing + SPARE:
            return
        shutil.rmtree(repo.repo_path, ignore_errors=True)  # by path: copies of a repository share commits
        there -= repo.size_on_disk
    if missing and shutil.disk_usage(cache).free < missing + SPARE:
        free = shutil.disk_usage(cache).free / 1e9
        raise UserError("page.disk_full", needed=missing / 1e9, free=free)
