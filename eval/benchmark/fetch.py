"""`python -m eval fetch`: the paper's two datasets from where they are published, for who is online.

The live sources were never run while this was written: it is tested on archives and parquet files of the same layout.
Where a picture came from, and when, is written to `SOURCES.json` beside the folders; who has one has everything.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from huggingface_hub import HfApi, hf_hub_download

from cgidm.errors import UserError
from cgidm.files import atomic_path, write_atomically
from cgidm.intake.hub_answers import HubUnreachable, explain_hub_errors

DREAMBOOTH = "https://github.com/google/dreambooth/archive/refs/heads/main.zip"
WIKIART = "huggan/wikiart"
MAX_BYTES = 2_000_000_000  # of an archive, of what it unpacks to, and of one shard
MAX_SHARDS = 20  # about 0.5 GB each; three to five should do
ARTISTS = 20
PICTURES = 24  # of each artist: the paper's 20, and some to lose as near-duplicates
CHUNK = 1 << 20
KINDS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp"}  # first bytes of a file


@dataclass(frozen=True)
class Shard:
    """One parquet file of a dataset on the Hub, on this machine."""

    url: str
    path: Path


def fetch(
    name: Literal["dreambooth", "wikiart"],
    data: Path,
    *,
    archive: str = DREAMBOOTH,
    shards: Callable[[], Iterable[Shard]] | None = None,
) -> None:
    """Download a dataset to `data / name`, a folder for each concept; broken off, the same call goes on.

    A folder that is there is whole and left as it is. `archive` and `shards` are other sources of the same layout.

    Raises:
        UserError: if a source cannot be reached, is too large or has another layout, or the disk is full.
    """
    folder = data / name
    if (folder / "SOURCES.json").exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if name == "dreambooth":
            _fetch_dreambooth(folder, archive)
        else:
            _fetch_wikiart(folder, shards or hub_shards)
    except HubUnreachable as error:
        raise UserError("benchmark.offline") from error
    except OSError as error:
        raise UserError("benchmark.fetch_failed", dataset=name, folder=str(folder), reason=str(error)) from error


def hub_shards() -> Iterator[Shard]:
    """The parquet files of WikiArt, one after another, at the commit that its main branch has now."""
    with explain_hub_errors(WIKIART, None):
        info = HfApi().dataset_info(WIKIART, files_metadata=True)
    for file in sorted(info.siblings or (), key=lambda s: s.rfilename):
        if not file.rfilename.endswith(".parquet"):
            continue
        if (file.size or 0) > MAX_BYTES:
            source = f"{file.rfilename} of {WIKIART}"
            raise UserError("benchmark.too_large", source=source, given=file.size, most=MAX_BYTES)
        with explain_hub_errors(WIKIART, info.sha):
            path = hf_hub_download(WIKIART, file.rfilename, repo_type="dataset", revision=info.sha)
        url = f"https://huggingface.co/datasets/{WIKIART}/resolve/{info.sha}/{file.rfilename}"
        yield Shard(url, Path(path))


def _fetch_dreambooth(folder: Path, url: str) -> None:
    archive = folder / ".archive.zip"
    if not archive.exists():
        _download(url, archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            subjects = _subjects(opened, url)
            for subject, entries in subjects.items():
                _write_whole(folder / subject, {Path(e.filename).name: opened.read(e) for e in entries})
    except UserError:
        archive.unlink()  # so that the next call asks for it again
        raise
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        archive.unlink()
        raise UserError("benchmark.archive_unreadable", url=url, reason=str(error)) from error
    _write_sources(folder, {url: _sha256(archive)})
    archive.unlink()


def _subjects(archive: zipfile.ZipFile, url: str) -> dict[str, list[zipfile.ZipInfo]]:
    """The pictures TOP/dataset/SUBJECT/FILE of the archive, by subject; one entry that climbs out refuses it whole."""
    subjects: dict[str, list[zipfile.ZipInfo]] = {}
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
            raise UserError("benchmark.archive_escapes", url=url, entry=entry.filename)
        match path.parts:
            case (_, "dataset", subject, file) if not entry.is_dir() and not subject.startswith("."):
                if Path(file).suffix.lower() in (".jpg", ".jpeg", ".png"):
                    subjects.setdefault(subject, []).append(entry)
    if not subjects:
        raise UserError("benchmark.no_subjects", url=url)
    if (size := sum(e.file_size for entries in subjects.values() for e in entries)) > MAX_BYTES:
        raise UserError("benchmark.too_large", source=url, given=size, most=MAX_BYTES)
    return subjects


def _download(url: str, out: Path) -> None:
    with atomic_path(out) as temporary:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, temporary.open("wb") as file:
                stated = int(answer.headers.get("Content-Length") or 0)
                size = 0
                while size <= MAX_BYTES >= stated and (chunk := answer.read(CHUNK)):
                    size += file.write(chunk)
        except (OSError, http.client.HTTPException) as error:
            raise UserError("benchmark.download_failed", url=url, reason=str(error)) from error
        if max(size, stated) > MAX_BYTES:
            raise UserError("benchmark.too_large", source=url, given=max(size, stated), most=MAX_BYTES)
        if size < stated:
            raise UserError("benchmark.download_incomplete", url=url, given=size, expected=stated)


def _fetch_wikiart(folder: Path, shards: Callable[[], Iterable[Shard]]) -> None:
    """The first artists of whom so many pictures have been met, in the order of the shards."""
    parts: dict[str, Path] = {}  # folders that are filling
    hashes: dict[str, str] = {}
    for leftover in folder.glob(".*.part"):
        shutil.rmtree(leftover)
    done = {p.name for p in folder.iterdir() if p.is_dir()}
    for shard in islice(shards(), MAX_SHARDS):
        hashes[shard.url] = _sha256(shard.path)
        for artist, picture in _rows(shard):
            suffix = next((s for start, s in KINDS.items() if picture.startswith(start)), None)
            if artist in done or suffix is None or len(done) >= ARTISTS:
                continue
            part = parts.setdefault(artist, folder / f".{artist}.part")
            part.mkdir(exist_ok=True)
            count = len(list(part.iterdir())) + 1
            (part / f"{count:03d}{suffix}").write_bytes(picture)
            if count == PICTURES:
                os.replace(parts.pop(artist), folder / artist)
                done.add(artist)
        if len(done) >= ARTISTS:
            break  # before the next shard is downloaded
    for part in parts.values():
        shutil.rmtree(part)
    if len(done) < ARTISTS:
        counts = {"files": len(hashes), "pictures": PICTURES, "given": len(done), "least": ARTISTS}
        raise UserError("benchmark.no_artists", source=WIKIART, folder=str(folder), **counts)
    _write_sources(folder, hashes)


def _rows(shard: Shard) -> Iterator[tuple[str, bytes]]:
    """Artist, as a folder may be called, and the picture's bytes of every row whose artist is known."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError("benchmark.no_pyarrow") from error
    try:
        with pq.ParquetFile(shard.path) as file:
            names = _artist_names(file.schema_arrow.metadata or {}, shard.url)
            for batch in file.iter_batches(batch_size=32, columns=["image", "artist"]):
                for row in batch.to_pylist():
                    artist, picture = names.get(row["artist"]), (row["image"] or {}).get("bytes")
                    if artist and picture:
                        yield artist, picture
    except (pa.ArrowException, KeyError, AttributeError) as error:
        facts = {"url": shard.url, "path": str(shard.path), "reason": str(error)}
        raise UserError("benchmark.parquet_unreadable", **facts) from error


def _artist_names(metadata: Mapping[bytes, bytes], url: str) -> dict[int, str]:
    """Class number to folder name, without the class of those who are not known."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"]["artist"]["names"]
        slugs = {i: re.sub(r"[^\w]+", "-", name.casefold()).strip("-_") for i, name in enumerate(names)}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError("benchmark.artists_unknown", url=url) from error
    return {i: slug for i, slug in slugs.items() if not slug.startswith("unknown")}


def _write_whole(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder that is not there yet, with all its files or not at all."""
    if folder.exists():
        return
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name, content in files.items():
        (part / name).write_bytes(content)
    os.replace(part, folder)


def _write_sources(folder: Path, hashes: Mapping[str, str]) -> None:
    """The last thing written: it says that the dataset is whole."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    sources: dict[str, Any] = {"fetched": time, "sources": [{"url": u, "sha256": h} for u, h in hashes.items()]}
    write_atomically(folder / "SOURCES.json", json.dumps(sources, indent=1) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
