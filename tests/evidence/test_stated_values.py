"""What a record only states, and a report prints: no sentence of somebody's own stands among the tool's."""

import json

import pytest

from cgidm.cli import main
from cgidm.evidence.anchors.stated_values import odd_statements
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.record import read_record
from cgidm.evidence.record_json import to_json
from cgidm.evidence.reports.language import quotable
from tests.support.bundles import MODELS, raw_record, reseal
from tests.support.results import result_of

TEXT = "An expert of the court confirmed: this picture was used."
DAY = "2026-01-01T00:00:00+00:00"
SHA = "0" * 64


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("stated")
    write_evidence(result_of([2.0]), place / "folder", MODELS)
    return place / "folder"


def said(code="evidence.text", **params):
    return {"code": code, "params": params or {"text": TEXT}}


def put(*path):
    """A change of the value at a path."""
    *inner, last, value = path

    def change(record):
        for key in inner:
            record = record[key]
        record[last] = value

    return change


def anchor(**fields):
    known = {"location": "org/lora", "version": "c0ffee", "published": DAY, "retrieved": DAY, "stated": {"a": SHA}}
    return put("models", "anchors", {"suspect": known | fields})


FORGED = {
    "a sentence among a picture's notes": (put("pictures", 0, "notes", [said()]), "pictures[0].notes"),
    "an answer among them": (put("pictures", 0, "notes", [said("report.outcome.consistent")]), "pictures[0].notes"),
    "a code of no sentence": (put("models", "remarks", [said("intake.no_such_code")]), "models.remarks"),
    "other parameters": (put("models", "remarks", [said("intake.markers")]), "models.remarks"),
    "a sentence of parameters alone": (put("models", "notes", [said("families.library_error")]), "models.notes"),
    "a sentence as the warning": (put("models", "warning", said()), "models.warning"),
    "a sentence in place of a score": (
        lambda r: [p["not_computed"].update(clip=said()) for p in r["pictures"]],
        "pictures[0].not_computed.clip",
    ),
    "a long name": (put("pictures", 0, "name", 5 * TEXT), "pictures[0].name"),
    "a picture's digest": (put("pictures", 0, "sha256", TEXT), "pictures[0].sha256"),
    "a weight file's digest": (put("models", "sha256", {"a": TEXT}), "models.sha256.a"),
    "a commit": (put("models", "commits", {"base": TEXT}), "models.commits.base"),
    "a place": (anchor(location=TEXT), "models.anchors.suspect.location"),
    "a version of a model": (anchor(version=TEXT), "models.anchors.suspect.version"),
    "a date of a model": (anchor(published=TEXT), "models.anchors.suspect.published"),
    "a stated digest": (anchor(stated={"a": TEXT}), "models.anchors.suspect.stated.a"),
    "a version of a package": (put("versions", "torch", TEXT), "versions.torch"),
    "a package": (put("versions", {TEXT: "1"}), f"versions.{TEXT}"),
    "the version of the tool": (put("code", "version", TEXT), "code.version"),
    "the digest of its code": (put("code", "sha256", TEXT), "code.sha256"),
    "the device": (put("machine", "device", TEXT), "machine.device"),
    "a long name of a machine": (put("machine", "device_name", 5 * TEXT), "machine.device_name"),
}


def odd(made, change):
    record = raw_record(made)
    change(record)
    return {d.path for d in odd_statements(read_record(json.dumps(record).encode(), "forged"))}


@pytest.mark.parametrize("name", FORGED)
def test_a_sentence_of_ones_own_is_named_wherever_it_stands(made, name):
    before = odd(made, lambda record: None)
    change, path = FORGED[name]
    assert path not in before and path in odd(made, change)


def test_what_a_run_states_is_not_odd(made):
    true = [anchor(), anchor(version="urn:air:sdxl:lora:civitai:1@2", published=None), put("models", "commits", {})]
    true += [put("models", "warning", said("intake.of_other_adapter", name="x", what="y"))]
    before = odd(made, lambda record: None)
    assert all(odd(made, change) == before for change in true)


def test_of_an_older_format_codes_may_be_others_but_not_of_another_room(made):
    record = to_json(read_record(json.dumps(raw_record(made)).encode(), "record"), 4) | {"format": 4}
    for code, is_odd in (("intake.code_of_an_older_version", False), ("evidence.text", True)):
        record["models"]["remarks"] = [said(code)]
        found = {d.path for d in odd_statements(read_record(json.dumps(record).encode(), "older"))}
        assert ("models.remarks" in found) == is_odd


def test_verify_names_a_sentence_that_both_reports_print(made, tmp_path, capsys):
    write_evidence(result_of([2.0]), tmp_path / "folder", MODELS)
    reseal(tmp_path / "folder", lambda record: record["models"].update(remarks=[said()]))
    assert TEXT in (tmp_path / "folder" / "report.html").read_text()
    assert main(["verify", str(tmp_path / "folder")]) == 1
    assert "models.remarks: recorded 'evidence.text'" in capsys.readouterr().out


@pytest.mark.parametrize("marks", ["“”", "„“", "«»", "「」"])
def test_a_name_does_not_end_the_quotation_that_it_stands_in(marks):
    end = marks[1]
    assert quotable(f"a.png{end} used? Yes. {marks[0]}") == 'a.png" used? Yes. "'
