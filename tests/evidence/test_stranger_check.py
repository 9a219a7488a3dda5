"""A stranger with openssl, unzip and sha256sum checks a bundle, by the script that the docs give."""

import re
import shutil
import subprocess
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cgidm.evidence.bundle_reader import EPOCH
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.evidence.signature import sign_folder
from tests.support.bundles import MODELS
from tests.support.paths import ROOT
from tests.support.results import result_of

TOOLS = ("openssl", "unzip", "sha256sum")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("stranger")
    write_evidence(result_of([2.0]), place / "folder", MODELS)
    pack_evidence(place / "folder", place / "unsigned.zip")
    key = sign_folder(place / "folder", Ed25519PrivateKey.generate())
    pack_evidence(place / "folder", place / "signed.zip")
    docs = (ROOT / "docs" / "usage" / "evidence.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(.*?)```", docs, re.DOTALL)
    (place / "check.sh").write_text(script)
    return place, key


def check(made, *given):
    done = subprocess.run(["sh", "check.sh", *given], cwd=made[0], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def altered(made, name, data):
    with zipfile.ZipFile(made[0] / "signed.zip") as old, zipfile.ZipFile(made[0] / "altered.zip", "w") as new:
        for each in dict.fromkeys((*old.namelist(), name)):
            new.writestr(zipfile.ZipInfo(each, EPOCH), data if each == name else old.read(each), zipfile.ZIP_DEFLATED)
    return "altered.zip"


def test_what_is_whole_and_signed_is_told_so(made):
    code, said = check(made, "signed.zip", made[1])
    assert code == 0 and "whole: 48 files" in said and f"signed by the key {made[1]}" in said
    code, said = check(made, "unsigned.zip")
    assert code == 0 and said.splitlines()[-1] == "not signed"


def test_another_key_than_the_named_one_is_refused(made):
    code, said = check(made, "signed.zip", "0" * 64)
    assert code == 1 and "not the key that you named" in said


@pytest.mark.parametrize("name", ["result.json", "report.pdf", "manifest.json", "manifest.sig", "extra.txt"])
def test_what_was_altered_is_refused(made, name):
    code, _ = check(made, altered(made, name, b"mine"))
    assert code != 0
