"""Time stamps by a local authority: requested once, checked offline, and each way in which one can be wrong."""

import re
import shutil
import sys

import pytest

from cgidm.cli import main
from cgidm.evidence.anchors.stamp import check_stamps, is_after_stamp
from cgidm.evidence.anchors.stamp_request import stamp_bundle
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.evidence.seal import MANIFEST, SEAL
from tests.support.bundles import MODELS, reseal
from tests.support.errors import refuses
from tests.support.results import result_of
from tests.support.stamp_authority import make_authority, serve

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("tsa") / "a", chain=True)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("tsa") / "b", "Other TSA")


@pytest.fixture(scope="module")
def expired(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("tsa") / "c", "Old TSA", days="-1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundle")
    write_evidence(result_of([2.0]), place / "folder", MODELS)
    return place / "folder"


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "folder")


def put(folder, data, number=1):
    (folder / "stamps").mkdir(exist_ok=True)
    (folder / "stamps" / f"{number:02d}.tsr").write_bytes(data)


def stamped(folder, authority, number=1):
    put(folder, authority.stamp((folder / MANIFEST).read_bytes()), number)


def codes(folder, certificates=None):
    with open_bundle(folder) as bundle:
        found = check_stamps(bundle, certificates)
    return {p.name: p.note.code.rpartition(".")[2] for p in found.problems}, found.stamps


def verified(path, capsys, *more):
    code = main(["verify", str(path), *map(str, more)])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("packed", [False, True])
def test_a_stamp_is_requested_and_then_checked(folder, authority, tmp_path, capsys, packed):
    path = pack_evidence(folder, tmp_path / "evidence.zip") if packed else folder
    with serve(authority) as server:
        assert main(["stamp", str(path), "--server", server.url]) == 0
        assert "stamps/01.tsr: dated by CN=Local TSA,O=Local TSA at " in capsys.readouterr().out
        ((kind, request),) = server.seen
    assert kind == "application/timestamp-query" and len(request) < 100  # the digest, and nothing of the bundle
    code, said = verified(path, capsys, "--stamp-certificates", authority.certificate)
    last = said.splitlines()[-1]
    assert code == 0 and re.search(r"shown: whole, consistent in itself, dated by CN=Local TSA,O=Local TSA at 20", last)
    assert "undated" not in last
    code, said = verified(path, capsys)
    assert code == 0 and re.search(
        r"; dated by CN=Local TSA,O=Local TSA at .* UTC, not checked, ", said.splitlines()[-1]
    )


def test_strict_asks_for_a_stamp_that_was_checked(folder, authority, capsys):
    stamped(folder, authority)
    assert verified(folder, capsys, "--strict")[0] == 3
    _, said = verified(folder, capsys, "--strict", "--stamp-certificates", authority.certificate)
    assert said.splitlines()[-1].endswith("; not signed, not run again")


def test_what_is_asked_of_a_bundle_without_a_stamp(folder, authority, capsys):
    assert codes(folder) == ({}, ())
    assert codes(folder, authority.certificate)[0] == {"stamps/": "unstamped"}
    assert verified(folder, capsys, "--stamp-certificates", authority.certificate)[0] == 1


def test_another_authority(folder, authority, other):
    stamped(folder, authority)
    assert codes(folder, other.certificate)[0] == {"stamps/01.tsr": "stamp_other_authority"}
    stamped(folder, other, 2)  # of two stamps, each is checked by its own authority's certificate
    for which, names in ((authority, [True, False]), (other, [False, True])):
        problems, stamps = codes(folder, which.certificate)
        assert problems == {} and [s.checked for s in stamps] == names


def test_both_authorities_in_one_file(folder, authority, other, tmp_path):
    stamped(folder, authority)
    stamped(folder, other, 2)
    both = tmp_path / "both.pem"
    both.write_bytes(authority.certificate.read_bytes() + other.certificate.read_bytes())
    problems, stamps = codes(folder, both)
    assert problems == {} and all(s.checked for s in stamps)


def test_an_authority_that_leaves_its_name_out_goes_by_its_certificate(folder, tmp_path):
    silent = make_authority(tmp_path / "e", "Silent TSA", named="no")
    stamped(folder, silent)
    problems, (stamp,) = codes(folder, silent.certificate)
    assert problems == {} and stamp.authority == "CN=Silent TSA,O=Silent TSA"


def test_a_certificate_that_was_not_valid_at_the_stamped_time(folder, expired):
    stamped(folder, expired)
    assert codes(folder, expired.certificate)[0] == {"stamps/01.tsr": "stamp_expired"}
    assert codes(folder)[0] == {}  # that is not looked at without certificates


def test_a_stamp_of_another_manifest(folder, authority):
    put(folder, authority.stamp(b"another"))
    for certificates in (None, authority.certificate):
        assert codes(folder, certificates)[0] == {"stamps/01.tsr": "stamp_other_manifest"}
    stamped(folder, authority)
    reseal(folder, lambda record: record.update(seconds=2.0))
    assert codes(folder)[0] == {"stamps/01.tsr": "stamp_other_manifest"}


@pytest.mark.parametrize("data", [b"", b"junk", b"0" * 3000])
def test_what_is_no_stamp(folder, authority, data):
    put(folder, data)
    assert codes(folder, authority.certificate)[0] == {"stamps/01.tsr": "stamp_unreadable"}


def test_every_byte_of_a_stamp_counts_or_says_nothing(folder, other):
    """The bytes that no signature covers (a version, the name of an algorithm) change nothing that is shown."""
    raw = other.stamp((folder / MANIFEST).read_bytes())
    put(folder, raw)
    _, (whole,) = codes(folder, other.certificate)
    silent = []
    for place in range(0, len(raw), 7):
        put(folder, raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        problems, stamps = codes(folder, other.certificate)
        if not problems:
            silent.append(place)
            assert stamps == (whole,)
        else:
            assert set(problems.values()) <= {
                *("stamp_unreadable", "stamp_changed", "stamp_other_manifest", "stamp_refused"),
                *("stamp_other_authority", "stamp_expired"),
            }
    assert len(silent) < 0.01 * len(raw) / 7


def test_one_byte_of_the_signature_has_its_own_sentence(folder, authority, capsys):
    raw = authority.stamp((folder / MANIFEST).read_bytes())
    put(folder, raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:])
    code, said = verified(folder, capsys, "--stamp-certificates", authority.certificate)
    assert code == 1 and "  stamps/01.tsr: was changed: it bears the name of CN=Local TSA" in said
    assert said.splitlines()[-1].startswith("shown: nothing; NOT whole")


def test_a_date_after_the_stamp_is_said(folder, authority, capsys):
    reseal(folder, lambda record: record.update(date="2999-01-01T00:00:00+00:00"))
    stamped(folder, authority)
    code, said = verified(folder, capsys, "--stamp-certificates", authority.certificate)
    assert code == 0 and "Its own date, 2999-01-01T00:00:00+00:00, is later than its time stamp" in said
    _, (stamp,) = codes(folder)
    assert is_after_stamp("no date", stamp) and is_after_stamp("2999-01-01", stamp)
    assert not is_after_stamp("2020-01-01T00:00:00+00:00", stamp)


def test_certificates_that_are_none(folder, authority, tmp_path, capsys):
    stamped(folder, authority)
    (tmp_path / "junk.pem").write_bytes(b"junk")
    for path in (tmp_path / "junk.pem", tmp_path / "missing.pem"):
        with open_bundle(folder) as bundle, refuses("evidence.no_certificates"):
            check_stamps(bundle, path)


def test_without_the_library_a_stamp_is_not_passed_over(folder, authority, monkeypatch, capsys):
    stamped(folder, authority)
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    assert main(["verify", str(folder)]) == 2
    assert "rfc3161-client" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 500}, "evidence.stamp_status"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, "evidence.stamp_status"),
        ({"reply": b"<html>"}, "evidence.no_stamp_answer"),
        ({"reply": bytes.fromhex("3005300302 0102".replace(" ", ""))}, None),  # refused, without a stamp
    ],
)
def test_an_answer_that_is_no_stamp_leaves_the_bundle_alone(folder, authority, answer, code):
    before = sorted(p.name for p in folder.rglob("*"))
    with serve(authority, **answer) as server:
        if code is None:
            with pytest.raises(ValueError, match="authority"):
                stamp_bundle(folder, server.url)
        else:
            with refuses(code):
                stamp_bundle(folder, server.url)
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_a_stamp_of_something_else_is_not_taken(folder, authority):
    with serve(authority, reply=authority.stamp(b"something else")) as server, refuses("evidence.stamp_not_ours"):
        stamp_bundle(folder, server.url)


@pytest.mark.parametrize("given", ["", "tsa.example", "file:///etc/passwd", "ftp://tsa.example/"])
def test_an_address_that_can_be_none(folder, given):
    with refuses("evidence.stamp_server", given=given):
        stamp_bundle(folder, given)


def test_nobody_answers(folder):
    with refuses("evidence.stamp_unreachable"):
        stamp_bundle(folder, "http://127.0.0.1:9/")


def test_what_was_altered_is_neither_stamped_nor_signed(folder, authority):
    (folder / "report.html").write_text("<p>mine")
    with serve(authority) as server:
        with refuses("evidence.not_whole"):
            stamp_bundle(folder, server.url)
        assert server.seen == []


def test_a_zip_stays_framed_as_a_run_packs_it(folder, authority, tmp_path, capsys):
    path = pack_evidence(folder, tmp_path / "evidence.zip")
    with serve(authority) as server:
        for _ in range(2):
            stamp_bundle(path, server.url)
    code, said = verified(path, capsys, "--stamp-certificates", authority.certificate)
    assert code == 0 and said.count("dated by CN=Local TSA") == 3
    with open_bundle(path) as bundle:
        assert [n for n in bundle.sizes if n.startswith("stamps/")] == ["stamps/01.tsr", "stamps/02.tsr"]
        assert SEAL in bundle.sizes
