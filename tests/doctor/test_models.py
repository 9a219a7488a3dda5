"""The doctor on the Hub, its cache, and the models whose weights do not ship."""

import socket
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from cgidm.doctor.machine import Folder, HubFacts
from cgidm.doctor.models import PROBE_REPO, check_cache, check_embedders, check_hub
from tests.support.hub_server import SHA, Repository, serve
from tests.support.machines import NOWHERE, ROOMY, make_machine, only_finding


@pytest.fixture(autouse=True)
def closed_session():
    yield
    close_session()


def with_hub(endpoint, offline=False, cache=ROOMY):
    return make_machine(hub=HubFacts(endpoint, offline, cache))


def test_the_cache_can_be_written_and_has_room(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    folder = Path("/home/ann/cache")
    found = only_finding(check_cache(with_hub(NOWHERE, cache=Folder(folder, free=50_000_000_000))), "cache")
    assert found.status == "ok" and str(found.note) == "~/cache can be written, 50.0 GB free"
    found = only_finding(check_cache(with_hub(NOWHERE, cache=Folder(folder, free=19_900_000_000))), "cache")
    assert found.status == "warning" and "20 GB" in str(found.fix)
    found = only_finding(check_cache(with_hub(NOWHERE, cache=Folder(folder, "Not a directory"))), "unwritable")
    assert found.status == "error" and "HF_HUB_CACHE" in str(found.fix)


def test_a_hub_that_answers_gets_one_short_request_without_a_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve({PROBE_REPO: Repository({"model.safetensors": b""})}) as server:
        found = only_finding(check_hub(with_hub(server.url.replace("//", "//name:password@"))), "hub")
        assert found.note.params == {"host": server.url.removeprefix("http://")}
        ((command, path, _, _),) = server.seen
        assert (command, path) == ("GET", f"/api/models/{PROBE_REPO}")
        check_hub(with_hub(server.url))
        assert server.seen[-1][3] is None
        close_session()


@pytest.mark.parametrize("endpoint", [NOWHERE, "nonsense", "http://127.0.0.1:99999"])
def test_a_hub_out_of_reach_is_no_reason_to_stop(endpoint):
    found = only_finding(check_hub(with_hub(endpoint)), "hub_unreachable")
    host = endpoint.removeprefix("http://") if "//" in endpoint else "HF_ENDPOINT"
    assert found.status == "warning" and found.note.params == {"host": host}


def test_an_answer_that_is_not_the_wanted_one_is_named(monkeypatch):
    with serve({PROBE_REPO: Repository(status=503)}) as server:
        found = only_finding(check_hub(with_hub(server.url)), "hub_status")
        assert found.status == "warning" and found.note.params["status"] == 503
        monkeypatch.setattr(
            server.RequestHandlerClass, "describe", lambda self, *_: self.answer(200, {}, b"<html>log in")
        )
        server.repositories[PROBE_REPO] = Repository()
        assert only_finding(check_hub(with_hub(server.url)), "hub_other").status == "warning"
        close_session()


def test_a_hub_that_does_not_answer_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        machine = with_hub(f"http://127.0.0.1:{silent.getsockname()[1]}")
        only_finding(check_hub(machine, timeout=0.2), "hub_unreachable")


def test_offline_the_hub_gets_no_request():
    with serve({}) as server:
        found = only_finding(check_hub(with_hub(server.url, offline=True)), "hub_offline")
        assert found.status == "warning" and server.seen == []


def test_clip_and_dino_are_looked_for_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    found = check_embedders(make_machine())
    assert [(f.name, f.status) for f in found] == [("clip", "warning"), ("dino", "warning")]
    assert all("--download" in str(f.fix) for f in found)
    folder = tmp_path / "cache" / "models--timm--vit_small_patch16_224.dino"
    (folder / "snapshots" / SHA).mkdir(parents=True)
    (folder / "snapshots" / SHA / "model.safetensors").touch()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(SHA)
    assert [f.status for f in check_embedders(make_machine())] == ["warning", "ok"]
