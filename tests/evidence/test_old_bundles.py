"""Bundles that older versions wrote still verify: what they do not show is said, and nothing is called wrong."""

import json
import shutil

import pytest

from cgidm.cli import main
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.recompute import recompute
from cgidm.evidence.record import FIRST_FORMAT, read_record
from cgidm.evidence.record_json import to_json
from cgidm.evidence.seal import seal_folder
from cgidm.evidence.standalone.build import GUIDE, SCRIPT
from tests.support.bundles import MODELS, raw_record, record_of, reseal
from tests.support.paths import ROOT
from tests.support.results import result_of

FORMAT_1 = ROOT / "tests" / "evidence" / "format-1.zip"  # written by version 0.1.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundle")
    write_evidence(result_of([2.0]), place / "folder", MODELS)
    return place / "folder"


def downgrade(record, number):
    """Take away what an older format does not have."""
    older = to_json(read_record(json.dumps(record).encode(), "record"), number)
    record.clear()
    record.update(older)
    for part in (record, *record["pictures"]):
        for name in [name for name in part if FIRST_FORMAT.get(name, 0) > number]:
            del part[name]
    record["format"] = number


def older_bundle(made, place, number):
    """The bundle as an older version would have written it: without the files for a check without this tool."""
    folder = shutil.copytree(made, place / "folder")
    for name in (SCRIPT, GUIDE):
        (folder / name).unlink()
    reseal(folder, lambda record: downgrade(record, number))
    return folder


def verified(path, capsys, *more):
    code = main(["verify", str(path), *map(str, more)])
    return code, capsys.readouterr().out


def test_a_bundle_of_format_1_as_version_0_1_0_wrote_it(capsys):
    code, said = verified(FORMAT_1, capsys)
    assert code == 0 and "whole; 48 files" in said
    assert "which other rules judged" in said and "report.html, report.pdf" in said
    assert said.splitlines()[-1] == (
        "shown: whole; not shown to be consistent in itself, undated, not signed, not run again"
    )
    assert verified(FORMAT_1, capsys, "--strict")[0] == 3


@pytest.mark.parametrize("number", [3, 4])
def test_a_bundle_of_an_older_format_is_not_called_consistent_since_it_may_have_left_something_out(
    made, tmp_path, capsys, number
):
    folder = older_bundle(made, tmp_path, number)
    assert raw_record(folder)["format"] == number
    with open_bundle(folder) as bundle:
        found = recompute(bundle, record_of(folder))
    assert found.agrees and "evidence.gap.older_format" in {gap.code for gap in found.gaps}
    code, said = verified(folder, capsys)
    assert code == 0 and "not shown to be consistent in itself" in said.splitlines()[-1]
    assert "which plan was followed and how often" in said


def test_the_power_of_format_5_is_taken_as_it_is_stated_and_that_of_today_is_not(tmp_path):
    """Format 5 looked up a mean over suspects, in a table that is no more."""
    write_evidence(result_of([0.5]), made := tmp_path / "made", MODELS)
    folder = shutil.copytree(made, tmp_path / "today")
    reseal(folder, lambda record: record.update(expected_power=0.96))
    with open_bundle(folder) as bundle:
        assert "expected_power" in {d.path for d in recompute(bundle, record_of(folder)).differences}
    older = shutil.copytree(made, tmp_path / "older")

    def as_format_5(record):
        downgrade(record, 5)
        record["expected_power"] = 0.96
        n, p = len(record["control_scores"]), record["pictures"][0]["p_value"]
        assert p > 0.05 and record["pictures"][0]["outcome"] == "cannot tell"
        reason = {"code": "judging.as_high", "params": {"n": n, "higher": round(p * (n + 1)) - 1, "p": p}}
        record["pictures"][0].update(outcome="no evidence", reason=reason)

    reseal(older, as_format_5)
    assert "control_power" not in raw_record(older)
    with open_bundle(older) as bundle:
        found = recompute(bundle, record_of(older))
    assert not found.differences and {g.code for g in found.gaps} >= {"evidence.gap.stated_power"}
    assert "evidence.gap.older_format" not in {g.code for g in found.gaps}


def test_a_report_of_an_older_format_that_differs_is_named_and_not_called_consistent(made, tmp_path, capsys):
    folder = older_bundle(made, tmp_path, 4)
    (folder / "report.html").write_text("<p>Proven")
    manifest = json.loads((folder / "manifest.json").read_text())
    seal_folder(folder, record_of(folder), list(manifest["sha256"]))
    code, said = verified(folder, capsys)
    assert code == 0 and "not derived again" in said and "(report.html)" in said
    assert "not shown to be consistent in itself" in said.splitlines()[-1]


def test_an_older_format_hides_no_field_of_a_newer_one(made, tmp_path, capsys):
    folder = shutil.copytree(made, tmp_path / "folder")
    reseal(folder, lambda record: record.update(format=4))
    code, said = verified(folder, capsys)
    assert code == 1 and "expected a later format with a value for statements, got 4" in said
