"""Fetching, from archives and parquet files of the same layout as the published ones."""

import hashlib
import io
import json
import sys
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi
from PIL import Image

from cgidm.errors import UserError
from eval.benchmark import fetch as fetching
from eval.benchmark.fetch import Shard, fetch
from tests.support.errors import refuses

SUBJECTS = {"dog": 5, "red_cartoon": 4}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which its files are served."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def jpeg(number):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def archive(path, extra=()):
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("dreambooth-main/README.md", "read me")
        opened.writestr("dreambooth-main/dataset/prompts_and_classes.txt", "prompts")
        opened.mkdir("dreambooth-main/dataset/dog")
        for subject, count in SUBJECTS.items():
            for i in range(count):
                opened.writestr(f"dreambooth-main/dataset/{subject}/{i:02d}.jpg", jpeg(i))
        opened.writestr("dreambooth-main/dataset/dog/notes.txt", "none")
        for name in extra:
            opened.writestr(name, b"outside")


def listing(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_dreambooth_is_unpacked_and_its_source_noted(tmp_path, served):
    folder, url = served
    archive(folder / "main.zip")
    fetch("dreambooth", tmp_path, archive=f"{url}/main.zip")
    files = [f"{s}/{i:02d}.jpg" for s, n in SUBJECTS.items() for i in range(n)]
    assert listing(tmp_path / "dreambooth") == ["SOURCES.json", *files]
    assert (tmp_path / "dreambooth" / "dog" / "03.jpg").read_bytes() == jpeg(3)
    noted = json.loads((tmp_path / "dreambooth" / "SOURCES.json").read_text())
    digest = hashlib.sha256((folder / "main.zip").read_bytes()).hexdigest()
    assert noted["sources"] == [{"url": f"{url}/main.zip", "sha256": digest}] and noted["fetched"]
    fetch("dreambooth", tmp_path, archive="http://127.0.0.1:9/gone.zip")  # all is there: nothing is asked for


def test_dreambooth_goes_on_where_it_broke_off(tmp_path, served, monkeypatch):
    folder, url = served
    archive(folder / "main.zip")
    write, calls = fetching._write_whole, []

    def breaks(target, files):
        calls.append(target.name)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write(target, files)

    monkeypatch.setattr(fetching, "_write_whole", breaks)
    with refuses("benchmark.fetch_failed", dataset="dreambooth", reason="[Errno 28] No space left on device"):
        fetch("dreambooth", tmp_path, archive=f"{url}/main.zip")
    assert not (tmp_path / "dreambooth" / "SOURCES.json").exists()
    monkeypatch.undo()
    (folder / "main.zip").unlink()  # the download was done: it is not asked for again
    fetch("dreambooth", tmp_path, archive=f"{url}/main.zip")
    assert len(listing(tmp_path / "dreambooth")) == 1 + sum(SUBJECTS.values())


@pytest.mark.parametrize(
    "name",
    [
        "dreambooth-main/dataset/dog/../../../evil.jpg",
        "/tmp/evil.jpg",
        "top/dataset/..\\evil/0.jpg",
        "C:/dataset/d/0.jpg",
    ],
)
def test_an_entry_that_climbs_out_refuses_the_archive(tmp_path, served, name):
    folder, url = served
    archive(folder / "main.zip", [name])
    with refuses("benchmark.archive_escapes", entry=name):
        fetch("dreambooth", tmp_path / "data", archive=f"{url}/main.zip")
    assert not list(tmp_path.rglob("*evil*")) and listing(tmp_path / "data") == []


def test_archives_that_are_none(tmp_path, served, monkeypatch):
    folder, url = served
    with refuses("benchmark.download_failed"):
        fetch("dreambooth", tmp_path, archive=f"{url}/gone.zip")
    (folder / "page.zip").write_bytes(b"<html>please log in</html>")
    with refuses("benchmark.archive_unreadable"):
        fetch("dreambooth", tmp_path, archive=f"{url}/page.zip")
    with zipfile.ZipFile(folder / "other.zip", "w") as opened:
        opened.writestr("top/pictures/dog.jpg", b"x")
    with refuses("benchmark.no_subjects"):
        fetch("dreambooth", tmp_path / "b", archive=f"{url}/other.zip")
    archive(folder / "main.zip")
    monkeypatch.setattr(fetching, "MAX_BYTES", 1000)
    with refuses("benchmark.too_large", most=1000):
        fetch("dreambooth", tmp_path / "c", archive=f"{url}/main.zip")
    assert listing(tmp_path / "c") == []


NAMES = ["Unknown Artist", "Claude Monet", "gustave-dore", "../../etc"]


def shard(path, artists, metadata=True):
    """Rows of a picture and its artist's class, as the Hub's dataset has them."""
    rows = [{"image": {"bytes": jpeg(i), "path": None}, "artist": a, "genre": 0} for i, a in enumerate(artists)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({"image": kind, "artist": pa.int64(), "genre": pa.int64()})
    if metadata:
        info = {"info": {"features": {"artist": {"names": NAMES, "_type": "ClassLabel"}}}}
        schema = schema.with_metadata({b"huggingface": json.dumps(info).encode()})
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=4)
    return Shard(f"https://hub/{path.name}", path)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(fetching, "ARTISTS", 2)
    monkeypatch.setattr(fetching, "PICTURES", 3)


def test_wikiart_stops_when_enough_artists_are_whole(tmp_path, small):
    first = shard(tmp_path / "0.parquet", [0, 0, 0, 1, 2, 1, 0])
    second = shard(tmp_path / "1.parquet", [3, 2, 1, 1, 2, 3, 3])

    def shards():
        yield first
        yield second
        raise AssertionError("a shard too many was asked for")

    fetch("wikiart", tmp_path, shards=shards)
    artists = [f"{a}/{i:03d}.jpg" for a in ("claude-monet", "gustave-dore") for i in (1, 2, 3)]
    assert listing(tmp_path / "wikiart") == ["SOURCES.json", *artists]
    assert (tmp_path / "wikiart" / "claude-monet" / "002.jpg").read_bytes() == jpeg(5)
    noted = json.loads((tmp_path / "wikiart" / "SOURCES.json").read_text())
    assert [s["url"] for s in noted["sources"]] == ["https://hub/0.parquet", "https://hub/1.parquet"]
    assert noted["sources"][0]["sha256"] == hashlib.sha256(first.path.read_bytes()).hexdigest()


def test_wikiart_broken_off_ends_as_if_it_had_not(tmp_path, small):
    first, second = shard(tmp_path / "0.parquet", [1, 2, 1, 1]), shard(tmp_path / "1.parquet", [3, 2, 3, 2, 3])

    def cut():
        yield first
        raise UserError("benchmark.offline")

    with refuses("benchmark.offline"):
        fetch("wikiart", tmp_path / "cut", shards=cut)
    for name in ("cut", "whole"):
        fetch("wikiart", tmp_path / name, shards=lambda: [first, second])
    assert listing(tmp_path / "cut") == listing(tmp_path / "whole")
    assert {p.parent.name for p in (tmp_path / "cut" / "wikiart").rglob("*.jpg")} == {"claude-monet", "gustave-dore"}


def test_an_artist_s_name_is_no_path(tmp_path, small):
    fetch("wikiart", tmp_path / "in", shards=lambda: [shard(tmp_path / "0.parquet", [3, 3, 3, 1, 1, 1])])
    assert sorted(p.name for p in (tmp_path / "in" / "wikiart").iterdir()) == ["SOURCES.json", "claude-monet", "etc"]


def test_wikiart_that_is_not_what_was_expected(tmp_path, small, monkeypatch):
    few = shard(tmp_path / "0.parquet", [1, 1, 1, 2])
    with refuses("benchmark.no_artists", files=1, pictures=3, given=1, least=2):
        fetch("wikiart", tmp_path / "a", shards=lambda: [few])
    with refuses("benchmark.artists_unknown"):
        fetch("wikiart", tmp_path / "b", shards=lambda: [shard(tmp_path / "1.parquet", [1], metadata=False)])
    (tmp_path / "2.parquet").write_bytes(few.path.read_bytes()[:-50])
    with refuses("benchmark.parquet_unreadable", url="https://hub/2"):
        fetch("wikiart", tmp_path / "c", shards=lambda: [Shard("https://hub/2", tmp_path / "2.parquet")])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with refuses("benchmark.no_pyarrow"):
        fetch("wikiart", tmp_path / "d", shards=lambda: [few])


def test_the_hub_s_files_are_asked_for_at_one_commit(tmp_path, small, monkeypatch):
    asked = []

    class Api:
        def dataset_info(self, repo, files_metadata):
            files = [SimpleNamespace(rfilename=f, size=s) for f, s in FILES.items()]
            return SimpleNamespace(sha="abc123", siblings=files)

    def download(repo, file, *, repo_type, revision):
        asked.append((repo, file, repo_type, revision))
        return str(shard(tmp_path / "0.parquet", [1, 2, 1, 2, 1, 2]).path)

    FILES = {"data/1.parquet": 9, "README.md": 9, "data/0.parquet": 9}
    monkeypatch.setattr(fetching, "HfApi", Api)
    monkeypatch.setattr(fetching, "hf_hub_download", download)
    fetch("wikiart", tmp_path / "in")
    assert asked == [("huggan/wikiart", "data/0.parquet", "dataset", "abc123")]
    noted = json.loads((tmp_path / "in" / "wikiart" / "SOURCES.json").read_text())
    assert noted["sources"][0]["url"].endswith("/huggan/wikiart/resolve/abc123/data/0.parquet")
    FILES = {"data/0.parquet": 3_000_000_000}
    with refuses("benchmark.too_large", most=2_000_000_000):
        fetch("wikiart", tmp_path / "large")


def test_a_hub_that_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9"))
    with refuses("benchmark.offline"):
        fetch("wikiart", tmp_path)
