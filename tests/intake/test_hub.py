"""Models on the Hub, against a stand-in: the commit first, headers by ranges, every refusal in its own sentence."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from PIL import Image
from safetensors.torch import save

from cgidm.cli import main
from cgidm.families import load_pair
from cgidm.intake import hub
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.layout import open_checkpoint
from cgidm.messages import Note
from tests.support import tiny
from tests.support.adapters import answers, kohya, weights
from tests.support.errors import refuses
from tests.support.hub_server import SHA, Repository, serve

CARD = {
    "license": "openrail++",
    "base_model": "runwayml/stable-diffusion-v1-5",
    "instance_prompt": "a photo of sks\x1b[31m dog",
}


def folder_files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A published base, with the ballast that repositories have, and a LoRA made from it."""
    folder = tmp_path_factory.mktemp("published")
    tiny.stable_diffusion().save_pretrained(folder)
    base = folder_files(folder)
    pairs, _ = weights(folder)
    large = {f"down.{i}": torch.zeros(1000, 100) for i in range(3)}
    ballast = {name: b"\x80\x04" for name in ("unet/diffusion_pytorch_model.bin", "model.ckpt")}
    ballast |= {"safety_checker/model.safetensors": b"no header", "v1-5.safetensors": b"no header"}
    ballast |= {"unet/diffusion_pytorch_model.fp16.safetensors": b"no header"}
    return base | ballast, {"pytorch_lora_weights.safetensors": save(kohya(pairs))}, {"big.safetensors": save(large)}


@pytest.fixture
def server(files, tmp_path, monkeypatch):
    base, lora, big = files
    repositories = {
        "owner/base": Repository(base),
        "owner/lora": Repository(lora, CARD, ["base_model:adapter:CompVis/stable-diffusion-v1-4"]),
        "owner/gated": Repository(lora, gated="manual", token="hf_mine"),
        "owner/old-name": Repository(moved_to="owner/lora"),
        "owner/busy": Repository(status=429, headers={"Retry-After": "30"}),
        "owner/ill": Repository(status=503),
        "owner/forbidden": Repository(status=403),
        "owner/damaged": Repository(lora, wrong_digest=True),
        "owner/terse": Repository(lora, states_digests=False),
        "owner/rude": Repository(lora, ignores_range=True),
        "owner/big": Repository(big),
        "owner/steps": Repository({f"checkpoint-{n}/{k}": v for n in (1, 2) for k, v in lora.items()}),
        "owner/pickled": Repository({"pytorch_lora_weights.bin": b"\x80\x04", "README.md": b"hello"}),
    }
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve(repositories) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
        close_session()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("owner/gated", "hub_gated"),
        ("owner/nothing", "hub_not_found"),
        ("owner/lora@v9", "hub_revision_not_found"),
        ("owner/lora/sub", "missing_inside"),
        ("owner/lora/other.safetensors", "missing_inside"),
        ("owner/busy", "hub_rate_limit"),
        ("owner/ill", "hub_status"),
        ("owner/forbidden", "hub_forbidden"),
        ("owner/steps", "several_steps"),
        ("owner/pickled", "only_pickles"),
    ],
)
def test_what_the_hub_does_not_grant_is_one_line(server, given, code):
    start = time.monotonic()
    with refuses(f"intake.{code}") as error:
        open_checkpoint(given, "suspect")
    assert str(error.value).startswith("suspect: ") and "\n" not in str(error.value) and time.monotonic() - start < 3


def test_sentences_say_what_to_do(server):
    with refuses("intake.hub_gated", repo="owner/gated") as error:
        open_checkpoint("owner/gated")
    assert "accept the terms at https://huggingface.co/owner/gated" in str(error.value)
    with refuses("intake.hub_rate_limit", seconds=30) as error:
        open_checkpoint("owner/busy")
    assert "Try again in 30 seconds" in str(error.value)


def test_out_of_reach_is_said_at_once_and_the_cache_is_used_and_named(server, monkeypatch):
    known = open_checkpoint("owner/lora")
    known.fetch()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with refuses("intake.hub_unreachable", repo="owner/base"):
        open_checkpoint("owner/base")
    cached = open_checkpoint("owner/lora")
    assert cached.listing.about.cached and cached.listing.about.sha == SHA and cached.name == known.name
    assert cached.listing.sha256(cached.root) == known.listing.sha256(known.root)
    assert "from the local cache" in "\n".join(report_lines(inspect_checkpoint(cached)))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_checkpoint("owner/lora").listing.about.cached
    assert time.monotonic() - start < 5


def test_inspecting_reads_headers_only_and_says_what_the_hub_knows(server):
    found = inspect_checkpoint(open_checkpoint("owner/old-name"))
    assert found["hub"]["repo"] == "owner/lora" and found["hub"]["sha"] == SHA and not found["hub"]["gated"]
    assert (
        found["base"] == "stable-diffusion-v1-5/stable-diffusion-v1-5" and found["prompt"] == "a photo of sks[31m dog"
    )
    text = "\n".join(report_lines(json.loads(json.dumps(found))))
    for said in (
        SHA,
        "openrail++",
        "owner/old-name is owner/lora today",
        "gated",
        "model card",
        found["sha256"].popitem()[1],
    ):
        assert said in text
    assert "\x1b" not in text


def test_of_a_large_file_little_is_read_and_of_a_repository_nothing_but_headers(server, files):
    with refuses("intake.unknown_kind"):
        open_checkpoint("owner/big")
    ranges = [r for command, _, r, _ in server.seen if command == "GET" and r]
    assert ranges == [f"bytes=0-{hub.FIRST_READ - 1}"] and len(files[2]["big.safetensors"]) > 10 * hub.FIRST_READ
    server.seen.clear()
    checkpoint = open_checkpoint("owner/base")
    inspect_checkpoint(checkpoint)
    read = {path.split("/", 5)[5] for _, path, _, _ in server.seen if "/resolve/" in path}
    assert read == {"model_index.json", *checkpoint.weights} and len(checkpoint.weights) == 3
    assert not [command for command, *_ in server.seen if command == "HEAD"], "no download was begun"


def test_a_digest_that_the_hub_does_not_state_is_no_reason_to_download(server, tmp_path):
    found = inspect_checkpoint(open_checkpoint("owner/terse"))
    assert list(found["sha256"].values()) == [None] and "not stated by the Hub" in "\n".join(report_lines(found))
    assert not (tmp_path / "cache").exists()
    assert len(open_checkpoint("owner/terse").listing.sha256("pytorch_lora_weights.safetensors")) == 64


def test_a_server_that_ignores_ranges_is_not_read_to_the_end(server):
    assert open_checkpoint("owner/rude").kind == "adapter"


def test_only_what_loading_needs_is_downloaded_and_it_loads(server, tmp_path, files):
    pair = load_pair("owner/base", f"{server.url}/owner/lora/blob/main/pytorch_lora_weights.safetensors", "a b")
    base, tuned = answers(pair)
    assert (base - tuned).abs().max() > 1e-3
    assert all(name.startswith(("owner/base@0123456789ab/", "owner/lora@0123456789ab/")) for name in pair.fingerprints)
    got = {p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()}
    assert "diffusion_pytorch_model.safetensors" in got and "pytorch_lora_weights.safetensors" in got
    assert not [
        name for name in got if name.endswith((".bin", ".ckpt", ".fp16.safetensors")) or name.startswith("v1-5")
    ]
    revisions = {path.split("/")[4] for _, path, _, _ in server.seen if "/resolve/" in path}
    assert revisions == {SHA}, "the commit was settled before anything was read"


def test_a_run_records_the_commits_and_what_the_card_says_against_the_base(server, tmp_path, capsys):
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "a.png")
    models = ["--base", "owner/base", "--suspect", "owner/lora", "--prompt", "a"]
    assert main(["authenticate", str(tmp_path / "a.png"), *models, "--steps", "1", "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "result.json").read_text())["models"]
    assert told["commits"] == {"base": SHA, "suspect": SHA} and told["suspect"].startswith("owner/lora@")
    params = {"named": "stable-diffusion-v1-5/stable-diffusion-v1-5", "base": "owner/base"}
    assert told["warning"] == {"code": "intake.made_for_other_base", "params": params}
    assert f"warning: {Note(**told['warning'])}" in capsys.readouterr().out


def test_a_token_is_used_only_if_the_caller_hands_one_over(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_operator")
    with refuses("intake.hub_gated"):
        open_checkpoint("owner/gated")
    open_checkpoint("owner/lora").fetch()
    assert {who for *_, who in server.seen} == {None}
    assert inspect_checkpoint(open_checkpoint("owner/gated", token="hf_mine"))["hub"]["gated"]
    assert "hf_mine" not in repr(open_checkpoint("owner/gated", token="hf_mine"))


def test_too_large_is_said_before_the_download_and_damage_after_it(server):
    small = open_checkpoint("owner/base", max_download=1000)
    server.seen.clear()
    with refuses("intake.hub_download_too_large", most=1e-6):
        small.fetch()
    assert not server.seen
    with refuses("intake.hub_damaged"):
        open_checkpoint("owner/damaged").fetch()


def test_the_command_line_against_the_stand_in(server, tmp_path, capsys):
    home = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cgidm", "inspect", "owner/lora"]
    run = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True)
    assert run.returncode == 0 and SHA in run.stdout and not run.stderr
    assert main(["inspect", "owner/gated"]) == 2
    assert capsys.readouterr().err.startswith("error: owner/gated is gated: ")
