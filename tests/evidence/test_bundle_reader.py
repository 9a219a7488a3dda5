"""A bundle that was altered, whoever did it and however: what is wrong is named, and nothing ends in a traceback."""

import dataclasses
import json
import random
import shutil
import stat
import subprocess
import sys
import zipfile
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cgidm.cli import main
from cgidm.evidence import bundle_reader as bundle
from cgidm.evidence import record
from cgidm.evidence.anchors import signature
from cgidm.evidence.bundle_reader import is_inside, open_bundle
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.evidence.seal import build_manifest, check_seal, is_envelope, seal_folder, seal_text
from cgidm.messages import note
from tests.support.bundles import MODELS, record_of
from tests.support.errors import refuses
from tests.support.paths import ROOT
from tests.support.results import result_of

KEY = ("openssl", "genpkey", "-algorithm", "ed25519", "-out")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A signed bundle as folder and zip, with its keys."""
    place = tmp_path_factory.mktemp("bundle")
    write_evidence(result_of([2.0, 3.0]), place / "folder", MODELS)
    subprocess.run([*KEY, str(place / "key.pem")], check=True)
    out = ["openssl", "pkey", "-in", str(place / "key.pem"), "-pubout", "-out", str(place / "public.pem")]
    subprocess.run(out, check=True)
    signature.sign_bundle(place / "folder", signature.read_private_key(place / "key.pem"))
    pack_evidence(place / "folder", place / "whole.zip")
    return place


@pytest.fixture(scope="module", autouse=True)
def known_records():
    """The same bytes are read as a record once: most alterations are of other files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "read_record", cache(record.read_record))
        yield


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made / "folder", tmp_path / "folder")
    return tmp_path / "folder"


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def flip(data, seed):
    draw = random.Random(seed)
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


def rewrite(source, target, changed):
    """A zip with some members' bytes exchanged (None: left out), and others added; framed as a run frames it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        names = [*old.namelist(), *(name for name in changed if name not in old.namelist())]
        for name in names:
            if (data := changed[name] if name in changed else old.read(name)) is not None:
                new.writestr(zipfile.ZipInfo(name, bundle.EPOCH), data, zipfile.ZIP_DEFLATED)


def said_of(path, capsys, *more):
    """The exit code, and each name that is called wrong with what is said of it."""
    code = main(["verify", str(path), *map(str, more)])
    lines = [line.strip().split(": ", 1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    return code, dict(line for line in lines if len(line) == 2 and line[0] != "and, in result.json")


def test_a_whole_bundle_is_whole_as_folder_and_zip(made, capsys):
    assert main(["verify", str(made / "folder"), "--signer", str(made / "public.pem")]) == 0
    said = capsys.readouterr().out
    assert main(["verify", str(made / "whole.zip"), "--signer", str(made / "public.pem")]) == 0
    assert said.splitlines()[1:] == capsys.readouterr().out.splitlines()[1:]
    openssl = f"openssl pkey -pubin -in {made / 'public.pem'} -outform DER | sha256sum"
    print_of = subprocess.run(openssl, shell=True, capture_output=True, text=True, check=True).stdout.split()[0]
    assert "whole; 55 files" in said and f"signed by the key that you named: Ed25519, SHA-256 {print_of}" in said
    assert "consistent in itself: " in said
    last = "shown: whole, consistent in itself, signed by the given key; undated, not run again"
    assert said.splitlines()[-1] == last


@pytest.mark.slow
def test_a_flipped_byte_in_any_file_is_found_and_the_file_named(made, folder, capsys):
    for seed in range(4):
        for name in names(folder):
            data = (folder / name).read_bytes()
            (folder / name).write_bytes(flip(data, f"{seed}{name}"))
            code, said = said_of(folder, capsys)
            assert code == 1 and name in said, (name, said)
            assert set(said) <= {name, "signatures/01.sig", "signatures/01.pem"}, (
                name,
                said,
            )  # a signature covers the manifest
            (folder / name).write_bytes(data)
    assert said_of(folder, capsys) == (0, {})


def test_a_flipped_byte_in_any_file_of_a_zip_is_found_and_the_file_named(made, tmp_path, capsys):
    for seed, name in enumerate(names(made / "folder")):
        data = flip((made / "folder" / name).read_bytes(), seed)
        rewrite(made / "whole.zip", tmp_path / "altered.zip", {name: data})
        code, said = said_of(tmp_path / "altered.zip", capsys)
        assert code == 1 and name in said, (name, said)


def test_every_byte_of_the_seal_and_many_of_the_manifest_count(made, folder, capsys):
    """Without a signature, which would say something too."""
    (folder / "signatures/01.sig").unlink()
    (folder / "signatures/01.pem").unlink()
    for name, every in (("seal.txt", 1), ("manifest.json", 97)):
        data = (folder / name).read_bytes()
        for place in range(0, len(data), every):
            (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with open_bundle(folder) as opened:
                said = {f.name for f in check_seal(opened)}
            assert name in said and "seal.txt" not in said - {name}, (name, place, said)
        (folder / name).write_bytes(data)


def test_added_and_missing_files_are_named(made, tmp_path, capsys):
    changed = {"00-partial.png": None, "seal.txt": None, "controls/extra.png": b"mine"}
    rewrite(made / "whole.zip", tmp_path / "altered.zip", changed)
    code, said = said_of(tmp_path / "altered.zip", capsys)
    assert code == 1 and set(said) == set(changed)
    assert (
        "missing" in said["00-partial.png"] and "missing" in said["seal.txt"] and "added" in said["controls/extra.png"]
    )


def test_a_manifest_that_was_sealed_anew_must_still_repeat_the_record(folder):
    record = record_of(folder)
    stated = [n for n in names(folder) if not is_envelope(n)]
    first = dataclasses.replace(record.pictures[0], sha256="0" * 64)
    seal_folder(folder, dataclasses.replace(record, pictures=(first, *record.pictures[1:])), stated)
    with open_bundle(folder) as opened:
        (problem,) = check_seal(opened)
    assert problem.name == "manifest.json" and problem.note == note("evidence.problem.other_record")


def test_the_manifest_states_what_identifies_the_inputs(made):
    record = record_of(made / "folder")
    manifest = json.loads((made / "folder" / "manifest.json").read_text())
    assert manifest["format"] == 1 and manifest["commits"] == {"base commit": "c0ffee"}
    assert [p["sha256"] for p in manifest["pictures"]] == ["a" * 64] * 2 and len(manifest["controls"]) == 40
    assert manifest["code"] == vars(record.code) and len(record.code.sha256) == 64
    assert record.machine.threads >= 1 and record.machine.device == "cpu"
    assert set(manifest["sha256"]) == {n for n in names(made / "folder") if not is_envelope(n)}
    assert build_manifest(record, manifest["sha256"]) == (made / "folder" / "manifest.json").read_bytes()


def test_another_format_is_refused(folder, capsys):
    data = build_manifest(record_of(folder), {"result.json": "0"}).replace(b'"format": 1', b'"format": 2')
    (folder / "manifest.json").write_bytes(data)
    (folder / "seal.txt").write_bytes(seal_text(data))
    assert main(["verify", str(folder)]) == 2 and "format 2" in capsys.readouterr().err


def test_who_signed_and_who_did_not(made, folder, tmp_path, capsys):
    other = tmp_path / "other.pem"
    subprocess.run([*KEY, str(other)], check=True)
    public = tmp_path / "other-public.pem"
    subprocess.run(["openssl", "pkey", "-in", str(other), "-pubout", "-out", str(public)], check=True)
    code, said = said_of(folder, capsys, "--signer", public)
    assert code == 4 and set(said) == {"signatures/01.pem"} and "another key" in said["signatures/01.pem"]
    check = (
        "openssl pkeyutl -verify -pubin -inkey signatures/01.pem -rawin -in manifest.json -sigfile signatures/01.sig"
    )
    subprocess.run(check, shell=True, check=True, cwd=folder, capture_output=True)

    signature.sign_bundle(folder, signature.read_private_key(other))
    assert said_of(folder, capsys) == (0, {})  # well signed, by two
    for key in (made / "public.pem", public):
        assert said_of(folder, capsys, "--signer", key) == (0, {})

    (folder / "signatures" / "02.sig").unlink()
    assert said_of(folder, capsys)[1].keys() == {"signatures/02.sig"}
    shutil.rmtree(folder / "signatures")
    assert said_of(folder, capsys) == (0, {})
    code, said = said_of(folder, capsys, "--signer", public)
    assert code == 4 and "not signed" in said["signatures/"]


def test_who_did_not_sign_says_nothing_about_the_files(made, folder, capsys):
    """Neither a bundle without a signature nor one of somebody else's is called altered."""
    shutil.rmtree(folder / "signatures")
    assert main(["verify", str(folder), "--signer", str(made / "public.pem")]) == 4
    said = capsys.readouterr().out
    assert "whole; 53 files" in said and "altered" not in said and "consistent in itself: " in said
    assert said.splitlines()[-1].endswith("; undated, NOT signed by the given key, not run again")
    (folder / "report.html").write_text("mine")
    assert main(["verify", str(folder), "--signer", str(made / "public.pem")]) == 1
    assert "altered" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["folder", "missing.pem", "junk.pem", "rsa.pem", "public.pem"])
def test_a_key_that_cannot_sign_is_refused(made, tmp_path, given):
    (tmp_path / "junk.pem").write_bytes(b"junk")
    subprocess.run(["openssl", "genrsa", "-out", str(tmp_path / "rsa.pem"), "2048"], check=True, capture_output=True)
    path = made / given if (made / given).exists() else tmp_path / given
    with refuses("evidence.unreadable_key" if path.is_dir() or not path.exists() else "evidence.no_private_key"):
        signature.read_private_key(path)


def test_a_private_key_is_no_public_one(made, capsys):
    assert main(["verify", str(made / "folder"), "--signer", str(made / "key.pem")]) == 2
    assert "expected a public Ed25519 key" in capsys.readouterr().err


def test_without_cryptography_a_signature_is_not_passed_over(made, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    assert main(["verify", str(made / "folder")]) == 2
    assert "pip install cryptography" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../up.txt", "/root.txt", "a/../../b", "C:\\b.txt", "a\\b", "a//b", "."])
def test_no_name_leads_outside(made, tmp_path, capsys, name):
    assert not is_inside(name)
    rewrite(made / "whole.zip", tmp_path / "altered.zip", {name: b"mine"})
    before = sorted(tmp_path.rglob("*"))
    code = main(["verify", str(tmp_path / "altered.zip")])
    assert code == 1 and "outside" in capsys.readouterr().out and sorted(tmp_path.rglob("*")) == before


def test_a_manifest_that_states_a_place_outside_is_none(folder, capsys):
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "sha256": {"../secret": "0" * 64}}))
    code, said = said_of(folder, capsys)
    assert code == 1 and "no manifest" in said["manifest.json"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_named(made, tmp_path, capsys):
    shutil.copy(made / "whole.zip", tmp_path / "twice.zip")
    with zipfile.ZipFile(tmp_path / "twice.zip", "a") as file:
        file.writestr("result.json", (made / "folder" / "result.json").read_bytes())
    code, said = said_of(tmp_path / "twice.zip", capsys)
    assert code == 1 and "more than once" in said["result.json"]


def test_a_link_is_not_followed(folder, tmp_path, capsys):
    (tmp_path / "secret").write_bytes((folder / "result.json").read_bytes())
    (folder / "result.json").unlink()
    (folder / "result.json").symlink_to(tmp_path / "secret")
    code, said = said_of(folder, capsys)
    assert code == 1 and "link" in said["result.json"]


def test_absurd_sizes_are_refused_before_anything_is_read(made, tmp_path, monkeypatch, capsys):
    rewrite(made / "whole.zip", tmp_path / "bomb.zip", {"zeros": bytes(3_000_000)})
    monkeypatch.setattr(bundle, "MAX_TOTAL", 2_000_000)
    assert main(["verify", str(tmp_path / "bomb.zip")]) == 2
    assert "at most 2,000,000 bytes" in capsys.readouterr().err
    monkeypatch.setattr(bundle, "MAX_FILES", 5)
    assert main(["verify", str(made / "folder")]) == 2 and "at most 5 files" in capsys.readouterr().err


@pytest.mark.parametrize("given", [b"", b"junk", b"PK\x05\x06" + bytes(18), None])
def test_what_is_no_bundle(tmp_path, capsys, given):
    path = tmp_path / "given.zip"
    if given is not None:
        path.write_bytes(given)
    code = main(["verify", str(path)])
    said = capsys.readouterr()
    assert (code, "Use the folder or zip" in said.err) == (2, True) or (
        code == 1 and "manifest.json: is missing" in said.out
    )


def test_a_zip_with_any_bytes_altered_or_cut_ends_in_words(made, tmp_path, capsys):
    data = (made / "whole.zip").read_bytes()
    for seed in range(150):
        broken = flip(data, seed) if seed % 3 else data[: random.Random(seed).randrange(len(data))]
        (tmp_path / "broken.zip").write_bytes(broken)
        assert main(["verify", str(tmp_path / "broken.zip")]) in (0, 1, 2)  # 0: a byte that says nothing, as a date


def test_hostile_records_end_in_words(folder, capsys):
    for text in (
        "[" * 100_000,
        "{}",
        '{"pictures": 3, "models": [], "controls": null}',
        "\x00",
        '{"models": {"sha256": 1}}',
    ):
        (folder / "result.json").write_text(text)
        assert "result.json" in said_of(folder, capsys)[1]
        stated = [n for n in names(folder) if not is_envelope(n)]
        digests = {n: bundle.file_sha256(bundle._open_folder(folder), n) for n in stated}
        (folder / "manifest.json").write_text(json.dumps({"format": 1, "sha256": digests}))
        assert main(["verify", str(folder)]) == 1


def test_hashes_are_checked_where_nothing_but_python_is_installed(made, tmp_path):
    """And what cannot be told there is said."""
    shutil.copytree(made / "folder", tmp_path / "folder")
    for name in ("signatures/01.sig", "signatures/01.pem"):
        (tmp_path / "folder" / name).unlink()
    absent = ("torch", "numpy", "PIL", "fpdf", "scipy", "pydantic", "jaxtyping", "cryptography", "huggingface_hub")
    code = (
        "import sys, runpy\n"
        f"for name in {absent}: sys.modules[name] = None\n"
        "sys.argv = ['cgidm', 'verify', sys.argv[1]]\n"
        "runpy.run_module('cgidm', run_name='__main__')"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "folder")]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "is not installed" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1].startswith("shown: whole; not shown to be consistent in itself, undated")


def test_a_key_is_made_as_the_docs_say(made):
    assert stat.S_ISREG((made / "key.pem").stat().st_mode)
    assert isinstance(signature.read_private_key(made / "key.pem"), Ed25519PrivateKey)
