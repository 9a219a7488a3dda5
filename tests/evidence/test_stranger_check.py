"""A stranger with openssl, unzip and sha256sum checks a bundle, by the script that the docs give."""

import re
import shutil
import subprocess
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cgidm.evidence.anchors.signature import sign_bundle
from cgidm.evidence.anchors.stamp_request import stamp_bundle
from cgidm.evidence.bundle_reader import EPOCH
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from tests.support.bundles import MODELS
from tests.support.paths import ROOT
from tests.support.results import result_of
from tests.support.stamp_authority import make_authority, serve

TOOLS = ("openssl", "unzip", "sha256sum")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("stranger")
    write_evidence(result_of([2.0]), place / "folder", MODELS)
    pack_evidence(place / "folder", place / "unsigned.zip")
    key = sign_bundle(place / "folder", Ed25519PrivateKey.generate())
    pack_evidence(place / "folder", place / "signed.zip")
    authority, other = make_authority(place / "tsa", chain=True), make_authority(place / "other", "Other TSA")
    with serve(authority) as server:
        stamp_bundle(place / "folder", server.url)
    pack_evidence(place / "folder", place / "stamped.zip")
    assert authority.certificate.is_file() and other.certificate.is_file()
    docs = (ROOT / "docs" / "usage" / "evidence.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(.*?)```", docs, re.DOTALL)
    (place / "check.sh").write_text(script)
    return place, key


def check(made, *given):
    done = subprocess.run(["sh", "check.sh", *given], cwd=made[0], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def altered(made, name, data):
    with zipfile.ZipFile(made[0] / "stamped.zip") as old, zipfile.ZipFile(made[0] / "altered.zip", "w") as new:
        for each in dict.fromkeys((*old.namelist(), name)):
            new.writestr(zipfile.ZipInfo(each, EPOCH), data if each == name else old.read(each), zipfile.ZIP_DEFLATED)
    return "altered.zip"


def test_what_is_whole_signed_and_dated_is_told_so(made):
    code, said = check(made, "stamped.zip", made[1], "tsa/ca.pem")
    assert code == 0 and "whole: 48 files" in said and f"signed by the key {made[1]}" in said
    assert re.search(r"^Time stamp: ... .* GMT$", said, re.MULTILINE) and "Verification: OK" in said
    code, said = check(made, "stamped.zip")
    assert code == 0 and "not checked: name the certificates" in said
    code, said = check(made, "signed.zip", made[1])
    assert code == 0 and said.splitlines()[-1] == "undated"
    code, said = check(made, "unsigned.zip")
    assert code == 0 and said.splitlines()[-2:] == ["not signed", "undated"]


def test_two_signatures_and_one_of_the_older_kind(made, tmp_path):
    folder = shutil.copytree(made[0] / "folder", tmp_path / "folder")
    second = sign_bundle(folder, Ed25519PrivateKey.generate())
    for old, new in (("01.sig", "manifest.sig"), ("01.pem", "signer.pem")):
        (folder / "signatures" / old).rename(folder / new)
    pack_evidence(folder, made[0] / "both.zip")
    for key in (made[1], second):
        code, said = check(made, "both.zip", key)
        assert code == 0 and said.count("signed by the key") == 2


def test_another_key_or_authority_than_the_named_one_is_refused(made):
    for name in ("signed.zip", "unsigned.zip"):
        code, said = check(made, name, "0" * 64)
        assert code == 1 and "not signed by the key that you named" in said
    for name in ("stamped.zip", "signed.zip"):
        code, said = check(made, name, "-", "other/ca.pem")
        assert code == 1 and "not dated by that authority" in said


@pytest.mark.parametrize(
    "name",
    [
        "result.json",
        "report.pdf",
        "manifest.json",
        "signatures/01.sig",
        "signatures/01.pem",
        "stamps/01.tsr",
        "extra.txt",
    ],
)
def test_what_was_altered_is_refused(made, name):
    code, _ = check(made, altered(made, name, b"mine"), "-", "tsa/ca.pem")
    assert code != 0
