"""The list of public bases: whole, sourced, and used for a base in a folder, in one file, and an altered one."""

import json
import re

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from cgidm.intake.family import LINEAGES
from cgidm.intake.known_bases.table import FILE, digests_of, find_known_base, is_network, known_bases
from cgidm.intake.layout import open_checkpoint
from cgidm.judging.checks import base_flags, name_known_base
from cgidm.resources import SHIPPED_BASE, find_example
from scripts import known_bases as script
from tests.support.hub_server import Repository, digest, serve

SD15 = json.loads(FILE.read_text(encoding="utf-8"))["bases"][0]["files"]
FOLDER = [f for f in SD15 if "/" in f and "fp16" not in f]


def digests(*files):
    return {f: SD15[f] for f in files}


def test_every_digest_is_one_and_stands_once_in_the_networks():
    table = json.loads(FILE.read_text(encoding="utf-8"))
    every = [d for base in table["bases"] for f, d in base["files"].items() if is_network(f)]
    assert len(set(every)) == len(every) and all(re.fullmatch(r"[0-9a-f]{64}", d) for d in every)
    assert "two independent public lists" in table["sources"]
    assert all(base.networks for base in known_bases())


def test_the_base_that_ships_is_on_the_list():
    base = open_checkpoint(SHIPPED_BASE)
    found = find_known_base({f: base.listing.sha256(f) for f in base.weights})
    assert found is not None and found.location == SHIPPED_BASE
    suspect = open_checkpoint(str(find_example("gerald-g-dreambooth").checkpoint))
    assert find_known_base({f: suspect.listing.sha256(f) for f in suspect.weights}) is None


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (digests("v1-5-pruned-emaonly.safetensors"), True),
        (digests(*FOLDER), True),
        (digests(*FOLDER) | {"vae/other.safetensors": "0" * 64}, False),  # one part is altered
        (digests("vae/diffusion_pytorch_model.safetensors"), False),  # without its network
        ({"unet/diffusion_pytorch_model.safetensors": "0" * 64}, False),
        ({}, False),
    ],
)
def test_a_base_is_known_if_all_of_its_files_are(given, known):
    found = find_known_base(given)
    assert (found is not None and found.name == "Stable Diffusion 1.5") == known


def test_an_unknown_base_raises_a_flag_that_blocks_nothing():
    prints = digests(*FOLDER) | {"lora.safetensors": "1" * 64}
    assert base_flags(prints, FOLDER) == () and name_known_base(prints, FOLDER) == "Stable Diffusion 1.5"
    (flag,) = base_flags(prints | {FOLDER[0]: "2" * 64}, FOLDER)
    assert flag.name == "unknown_base" and not flag.blocks_verdict
    assert [f.name for f in base_flags(prints, ["another.safetensors"])] == ["unknown_base"]
    assert base_flags({}, ()) == ()  # networks that no file holds


def test_lineages_have_their_digests_from_the_list():
    names = {base.name for base in known_bases()}
    assert all(set(lineage.bases) <= names for lineage in LINEAGES)
    assert all(lineage.sha256 for lineage in LINEAGES if lineage.bases) and digests_of("no such base") == ()


def test_the_script_compares_the_list_with_the_hub(tmp_path, monkeypatch, capsys):
    data = {"unet/a.safetensors": b"one", "b.safetensors": b"two", "c.safetensors": b"three"}
    repo = Repository(data)
    known = {"unet/a.safetensors": digest(repo, b"one"), "b.safetensors": "0" * 64, "gone.safetensors": "1" * 64}
    bases = [
        {"name": "A", "location": "org/a", "files": known},
        {"name": "B", "location": "civitai:1", "files": {"x.safetensors": "2" * 64}},
        {"name": "C", "location": "org/none", "files": {"y.safetensors": "3" * 64}},
    ]
    table = tmp_path / "bases.json"
    table.write_text(json.dumps({"sources": "", "bases": bases}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve({"org/a": repo}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert script.main(["--table", str(table)]) == 1
        said = capsys.readouterr().out.splitlines()
        assert said[:4] == [
            "A, unet/a.safetensors: the same",
            "A, b.safetensors: another digest",
            "A, gone.safetensors: gone",
            "B, x.safetensors: not on the Hub",
        ]
        assert said[4].startswith("C, y.safetensors: not compared")
        script.main(["--table", str(table), "--location", "org/a", "--add", "c.safetensors", "d.safetensors"])
        assert all(path.startswith("/api/models/") for _, path, _, _ in server.seen)
    close_session()
    files = json.loads(table.read_text())["bases"][0]["files"]
    assert files["c.safetensors"] == digest(repo, b"three") and "d.safetensors" not in files
