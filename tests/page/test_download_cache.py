"""Downloads of the page: fetched without a GPU, and never so many that the disk fills."""

import os
import shutil
from collections import namedtuple

import pytest

from cgidm.page.runs import download_cache as disk
from tests.support.errors import refuses


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the Hub with three repositories of 1,000 bytes, the first used longest ago."""
    monkeypatch.setattr(disk.constants, "HF_HUB_CACHE", str(tmp_path))
    for age, name in enumerate(("old", "middle", "new")):
        folder = tmp_path / f"models--artist--{name}"
        snapshot, blob = folder / "snapshots" / ("a" * 40), folder / "blobs" / f"{age}"
        snapshot.mkdir(parents=True)
        blob.parent.mkdir()
        blob.write_bytes(bytes(1000))
        (snapshot / "model.safetensors").symlink_to(blob)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("a" * 40)
        os.utime(blob, (1000 + age, 1000 + age))
    return tmp_path


def there(cache):
    return sorted(p.name.split("--")[-1] for p in cache.glob("models--*") if any(p.glob("blobs/*")))


def test_nothing_goes_while_there_is_room(cache):
    disk.make_room(5000)
    assert there(cache) == ["middle", "new", "old"]


@pytest.mark.parametrize(
    ("needed", "keep", "left"),
    [
        (1000, (), ["middle", "new"]),
        (2000, (), ["new"]),
        (2000, ("artist/old",), ["new", "old"]),
        (9000, ("artist/middle",), ["middle"]),
    ],
)
def test_what_was_used_longest_ago_goes_first_and_what_is_needed_stays(cache, monkeypatch, needed, keep, left):
    monkeypatch.setattr(disk, "MAX_KEPT", 3000)
    disk.make_room(needed, keep)
    assert there(cache) == left


def test_a_full_disk_is_one_sentence(cache, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with refuses("page.disk_full", needed=5000 / 1e9, free=0.0):
        disk.make_room(5000)
    assert there(cache) == []


def test_a_cache_that_is_not_there_yet_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    disk.make_room(1000)
