"""A suspect in a sealed zip of its own: weights, facts, page; read by `verify`, signed and stamped as evidence is."""

import json
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from cgidm.cli import main
from cgidm.evidence.anchors import kept
from cgidm.evidence.anchors.kept import keep_suspect, read_kept
from cgidm.evidence.anchors.signature import sign_bundle
from cgidm.evidence.bundle_reader import EPOCH, open_bundle
from cgidm.evidence.seal import MANIFEST, build_plain_manifest, seal_text
from cgidm.intake.layout import open_checkpoint
from cgidm.resources import find_example
from tests.support.civitai_server import File, Version, in_place_of_civitai
from tests.support.errors import refuses
from tests.support.hub_server import SHA, Repository, serve

NAME = "pytorch_lora_weights.safetensors"
LORA = find_example("rollandin-lora").checkpoint.joinpath(NAME).read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def local(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.safetensors").write_bytes(LORA)
    out = tmp_path / "kept.zip"
    assert main(["keep", str(tmp_path / "in" / "x.safetensors"), "--out", str(out)]) == 0
    return out


def contents(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewrite(path, changes, *, seal_anew=True):
    files = contents(path) | changes
    if seal_anew:
        from hashlib import sha256

        stated = {n: sha256(d).hexdigest() for n, d in files.items() if n not in (MANIFEST, "seal.txt")}
        files[MANIFEST] = build_plain_manifest(stated)
        files["seal.txt"] = seal_text(files[MANIFEST])
    with zipfile.ZipFile(path, "w") as new:
        for name, data in files.items():
            new.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)


def verified(path, capsys, *more):
    code = main(["verify", str(path), *more])
    return code, capsys.readouterr().out


def test_a_file_that_lay_here(local, capsys):
    code, said = verified(local, capsys)
    assert code == 0 and "nothing here shows who published it" in said and "x.safetensors: SHA-256 " in said
    assert said.splitlines()[-1] == "shown: whole; undated, not signed"
    assert contents(local)["files/x.safetensors"] == LORA
    signer = sign_bundle(local, Ed25519PrivateKey.generate())
    code, said = verified(local, capsys, "--signer", signer)
    assert code == 0 and said.splitlines()[-1] == "shown: whole, signed by the given key; undated"


@pytest.mark.usefixtures("cache")
def test_a_suspect_of_the_hub_with_its_card(tmp_path, monkeypatch, capsys):
    with serve({"org/lora": Repository({NAME: LORA, "README.md": b"# trained on Anna's works"})}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert main(["keep", "org/lora", "--out", str(tmp_path / "kept.zip")]) == 0
        files = contents(tmp_path / "kept.zip")
        assert files["page/README.md"] == b"# trained on Anna's works" and files[f"files/{NAME}"] == LORA
        facts = json.loads(files["kept.json"])
        assert facts["anchor"]["location"] == "org/lora" and facts["anchor"]["version"] == SHA
        assert facts["anchor"]["stated"] == facts["sha256"]
        code, said = verified(tmp_path / "kept.zip", capsys, "--online")
        assert code == 0 and f"read from org/lora, {SHA}" in said and "as published now" in said.splitlines()[-1]
        server.repositories["org/lora"].files[NAME] = LORA + b"x"
        code, said = verified(tmp_path / "kept.zip", capsys, "--online")
        assert code == 1 and "CONTRADICTED" in said
    close_session()


@pytest.mark.usefixtures("cache")
def test_a_suspect_of_civitai_with_its_description(tmp_path, monkeypatch):
    with in_place_of_civitai(monkeypatch, Version(7, 70, [File(700, LORA)])):
        assert main(["keep", "civitai:7@70", "--out", str(tmp_path / "kept.zip")]) == 0
    files = contents(tmp_path / "kept.zip")
    assert json.loads(files["page/civitai.json"])["publishedAt"] == "2025-01-15T09:16:12.062Z"
    anchor = json.loads(files["kept.json"])["anchor"]
    assert anchor["location"] == "Civitai" and anchor["published"] == "2025-01-15T09:16:12.062Z"


@pytest.mark.parametrize("option", [("--rerun",), ("--originals", ".")])
def test_a_suspect_is_no_run(local, capsys, option):
    assert main(["verify", str(local), *option]) == 2 and "a suspect that was kept" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["files/x.safetensors", "kept.json"])
def test_a_changed_file_is_named(local, capsys, name):
    rewrite(local, {name: contents(local)[name] + b" "}, seal_anew=False)
    code, said = verified(local, capsys)
    assert code == 1 and f"  {name}: was changed" in said


def test_what_was_sealed_anew_must_still_be_what_the_facts_say(local, capsys):
    rewrite(local, {"files/x.safetensors": LORA[:-1] + b"x"})
    assert main(["verify", str(local)]) == 2 and "not those of kept.json" in capsys.readouterr().err


def test_a_file_that_does_not_belong_there(local, capsys):
    rewrite(local, {"opinion.pdf": b"%PDF"})
    assert main(["verify", str(local)]) == 2 and "not those of kept.json" in capsys.readouterr().err


@pytest.mark.parametrize("facts", [b"", b"[]", b"{}", b'{"format": 1}', b"[" * 100_000])
def test_facts_that_are_none(local, facts):
    rewrite(local, {"kept.json": facts})
    with open_bundle(local) as bundle, pytest.raises(ValueError) as caught:
        read_kept(bundle)
    assert caught.value.code in ("evidence.damaged_kept", "evidence.kept_format")


def test_what_is_too_large_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "MAX_KEPT", 10)
    with refuses("evidence.kept_too_large", most=10):
        keep_suspect(open_checkpoint(str(find_example("rollandin-lora").checkpoint)), tmp_path / "kept.zip")
    assert not (tmp_path / "kept.zip").exists()


def test_no_home_folder_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "anna"))
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "x.safetensors").write_bytes(LORA)
    keep_suspect(open_checkpoint(str(tmp_path / "anna" / "x.safetensors")), tmp_path / "kept.zip")
    assert json.loads(contents(tmp_path / "kept.zip")["kept.json"])["name"] == "~/x.safetensors"
