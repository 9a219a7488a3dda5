"""Several persons sign one bundle, folder or zip, one after the other; bundles with one signature still read."""

import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cgidm.cli import main
from cgidm.evidence.anchors import envelope
from cgidm.evidence.anchors.signature import check_signatures, fingerprint, sign_bundle
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from tests.support.bundles import MODELS
from tests.support.errors import refuses
from tests.support.results import result_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundle")
    write_evidence(result_of([2.0]), place / "folder", MODELS)
    return place / "folder"


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "folder")


def new_key(path):
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True)
    return path


def signatures_of(path, signer=None):
    with open_bundle(path) as bundle:
        return check_signatures(bundle, signer)


@pytest.mark.parametrize("packed", [False, True])
def test_two_persons_sign_one_after_the_other(folder, tmp_path, capsys, packed):
    path = pack_evidence(folder, tmp_path / "evidence.zip") if packed else folder
    for name in ("artist", "lawyer", "artist"):  # who has signed signs no second time
        key = tmp_path / f"{name}.pem"
        assert main(["sign", str(path), "--key", str(key if key.exists() else new_key(key))]) == 0
    printed = [line.split()[-2] for line in capsys.readouterr().out.splitlines()]
    assert printed[0] == printed[2] != printed[1] and set(signatures_of(path).keys) == set(printed)
    for signer in printed:
        assert main(["verify", str(path), "--signer", signer]) == 0
        said = capsys.readouterr().out
        assert f"signed by the key that you named: Ed25519, SHA-256 {signer}" in said
        assert said.count("signed by a key that you did not name") == 1
        assert "signed by the given key" in said.splitlines()[-1]
    found = signatures_of(path, "0" * 64)
    assert found.named is None and [p.note.code for p in found.problems] == ["evidence.problem.other_signer"]


def test_one_wrong_signature_is_named_beside_a_right_one(folder):
    first, second = (sign_bundle(folder, Ed25519PrivateKey.generate()) for _ in range(2))
    (folder / "signatures" / "02.sig").write_bytes(b"\0" * 64)
    found = signatures_of(folder, first)
    assert found.keys == (first,) and {p.name for p in found.problems} == {"signatures/02.sig", "signatures/02.pem"}
    (only,) = signatures_of(folder, second).problems
    assert (only.name, only.note.code) == ("signatures/02.sig", "evidence.problem.signature")


def test_a_bundle_with_one_signature_of_the_older_kind_still_reads(folder, tmp_path):
    key = Ed25519PrivateKey.generate()
    sign_bundle(folder, key)
    for old, new in (("01.sig", "manifest.sig"), ("01.pem", "signer.pem")):
        (folder / "signatures" / old).rename(folder / new)
    (folder / "signatures").rmdir()
    own = fingerprint(key.public_key())
    assert signatures_of(folder, own).named == own
    other = sign_bundle(folder, Ed25519PrivateKey.generate())
    path = pack_evidence(folder, tmp_path / "both.zip")
    assert set(signatures_of(path).keys) == {own, other} and signatures_of(path).problems == ()
    (folder / "signer.pem").unlink()
    assert [p.name for p in signatures_of(folder).problems] == ["signer.pem"]


def test_what_else_lies_in_a_folder_is_no_part_of_what_is_signed(folder):
    (folder / "mine.txt").write_text("a note")
    assert signatures_of(folder).keys == () != (sign_bundle(folder, Ed25519PrivateKey.generate()),)


def test_an_altered_bundle_is_not_signed(folder, tmp_path):
    path = pack_evidence(folder, tmp_path / "evidence.zip")
    path.write_bytes(path.read_bytes() + b"more")
    with refuses("evidence.not_whole"):
        sign_bundle(path, Ed25519PrivateKey.generate())


def test_there_is_an_end_to_signatures(folder, monkeypatch):
    monkeypatch.setattr(envelope, "MOST", 1)
    sign_bundle(folder, Ed25519PrivateKey.generate())
    with refuses("evidence.full_envelope", most=1):
        sign_bundle(folder, Ed25519PrivateKey.generate())
