"""Somebody writes another report, or another file, and seals and signs everything anew with a key of their own."""

import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cgidm.cli import main
from cgidm.evidence import bundle_files
from cgidm.evidence.anchors.signature import fingerprint, sign_bundle
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.evidence.recompute import recompute
from cgidm.evidence.seal import bundle_record, is_envelope, seal_folder
from tests.support.bundles import MODELS, raw_record, record_of, reseal
from tests.support.forgeries import AlteredBundle
from tests.support.results import result_of

RANGES = 9  # of each report that are changed, from its first byte to its last


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("reports")
    write_evidence(result_of([2.0, 3.0]), place / "folder", MODELS)
    return place / "folder"


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "folder")


def seal_anew(folder, key=None):
    """As `authenticate` seals, whatever lies there; and sign it."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    seal_folder(folder, record_of(folder), [n for n in names if not is_envelope(n)])
    shutil.rmtree(folder / "signatures", ignore_errors=True)
    return sign_bundle(folder, key or Ed25519PrivateKey.generate())


def verified(path, capsys, *more):
    code = main(["verify", str(path), *map(str, more)])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("name", ["report.html", "report.pdf"])
def test_every_byte_range_of_a_report_counts(made, monkeypatch, name):
    with open_bundle(made) as bundle:
        record = bundle_record(bundle)
        written = {n: (made / n).read_bytes() for n in ("report.html", "report.pdf")}
        monkeypatch.setattr(bundle_files, "rendered_files", lambda *_: written)  # always the same
        data = written[name]
        for i in range(RANGES):
            place = i * (len(data) - 1) // (RANGES - 1)
            forged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            for other in (forged, data[:place], data + b"\n"):
                found = recompute(AlteredBundle(bundle, {name: other}), record)
                assert [p.name for p in found.problems] == [name] and found.differences == ()


def test_another_report_is_named_though_it_is_sealed_and_signed(folder, tmp_path, capsys):
    (folder / "report.html").write_text("<p>Proven: this picture was used.</p>")
    (folder / "report.pdf").write_bytes(b"%PDF-1.4\n")
    seal_anew(folder)
    code, said = verified(pack_evidence(folder, tmp_path / "forged.zip"), capsys)
    assert code == 1 and all(f"  {n}: is not what this version makes" in said for n in ("report.html", "report.pdf"))
    assert "signed by a key that you did not name" in said.splitlines()[-1]


def test_a_file_that_no_run_writes_is_named_though_a_manifest_states_it(folder, capsys):
    (folder / "expert-opinion.pdf").write_bytes(b"%PDF-1.4\n")
    with (folder / "00-original.png").open("ab") as file:
        file.write(b"hidden")
    seal_anew(folder)
    code, said = verified(folder, capsys)
    assert (
        code == 1 and "  expert-opinion.pdf: was added" in said and "  00-original.png: holds more than pixels" in said
    )


def test_forged_numbers_are_named_by_their_paths(folder, capsys):
    """The forgery that once came out as the same."""

    def forge(record):
        first = record["pictures"][0]
        first["p_value"], record["expected_power"], record["level"] = 0.0007, 0.999, 0.001
        first["witnesses"][0]["p_value"] = 0.0007
        record["set"]["adjusted"][0] = 0.0014

    reseal(folder, forge)
    code, said = verified(folder, capsys)
    paths = ("pictures[0].p_value", "expected_power", "level", "pictures[0].witnesses[0].p_value", "set.adjusted[0]")
    assert code == 1 and all(f"  {path}: recorded " in said for path in paths)
    assert "report" not in [line.split(":")[0].strip() for line in said.splitlines()]  # both were made to fit


def test_flags_that_were_emptied_come_back(folder, capsys):
    reseal(folder, lambda record: record["pictures"][0]["checks"].update(round_trip=0.9))
    code, said = verified(folder, capsys)
    assert code == 1 and "pictures[0].flags: recorded []" in said and "generated" in said


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_older_format_hides_nothing(folder, capsys, number):
    """A record that claims an older format, of which less is checked, holds values that only today's has."""
    reseal(folder, lambda record: record.update(format=number, strict_level=None))
    code, said = verified(folder, capsys)
    assert code == 1 and f"or later with a value for checks, got {number}" in said


def test_an_unrelated_model_is_asked_or_not_named(folder, capsys):
    reseal(folder, lambda record: record["models"].update(unrelated="foo"))
    code, said = verified(folder, capsys)
    assert code == 1 and "models.unrelated_sha256" in said and "unrelated_score" in said


def test_grades_and_exit_codes(folder, tmp_path, capsys):
    code, said = verified(folder, capsys, "--strict")
    assert (
        code == 3 and said.splitlines()[-1] == "shown: whole, consistent in itself; undated, not signed, not run again"
    )
    key = Ed25519PrivateKey.generate()
    signer = seal_anew(folder, key)
    assert signer == fingerprint(key.public_key())
    for given, words in ((signer, "signed by the given key"), (signer.upper(), "signed by the given key")):
        code, said = verified(folder, capsys, "--signer", given)
        assert code == 0 and words in said.splitlines()[-1].split(";")[0]
    code, said = verified(folder, capsys, "--signer", signer, "--strict")
    assert code == 3 and said.splitlines()[-1].endswith("; undated, not run again")
    code, said = verified(folder, capsys)
    assert code == 0 and "; undated, signed by a key that you did not name" in said
    assert verified(folder, capsys, "--signer", "0" * 64)[0] == 4
    assert main(["verify", str(folder), "--signer", "0" * 40]) == 2
    assert "64 hex digits" in capsys.readouterr().err


def test_what_nothing_confirms_is_listed(folder, capsys):
    reseal(folder, lambda record: record.update(date="2019-01-01T00:00:00+00:00"))
    code, said = verified(folder, capsys)
    stated = said[said.index("stated by whoever made it") :]
    assert code == 0 and "date 2019-01-01" in stated and "undated" in said.splitlines()[-1]
    assert raw_record(folder)["models"]["suspect"] in stated
