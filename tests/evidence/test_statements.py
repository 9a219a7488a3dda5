"""What a user states of control pictures stands in record and report as a claim, and nobody's home folder does."""

import dataclasses
import json
from pathlib import Path

import pytest

from cgidm.evidence.anchors.statements import read_control_statements
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.record import FORMAT, AnchorRecord, ControlStatementRecord, StatementsRecord, record_bytes
from cgidm.evidence.record_of_result import make_record, without_home, without_homes
from cgidm.evidence.reports.report import report_blocks
from cgidm.evidence.reports.sources import origin_sentences
from cgidm.messages import Note
from tests.support.bundles import MODELS
from tests.support.errors import refuses
from tests.support.results import block_texts, result_of

NAMES = [f"{i}.png" for i in range(40)]


def table(tmp_path, text, encoding="utf-8"):
    (tmp_path / "controls.csv").write_text(text, encoding=encoding)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "name,made_by,made_on\n1.png,Anna,2024-05-01\n",
        "Name;Made_by;Made_on\r\n1.png;Anna;2024-05-01\r\n",
        "\ufeffname,made_on,made_by\n1.png,2024-05-01,Anna\n\n",
    ],
)
def test_a_table_beside_the_controls(tmp_path, text):
    stated = read_control_statements(table(tmp_path, text), None).of(["x/0.png", "x/1.png"])
    assert stated.of_controls == (
        ControlStatementRecord(),
        ControlStatementRecord(made_by="Anna", made_on="2024-05-01"),
    )
    assert stated.controls is None and stated.attempt is None


def test_words_alone_and_nothing(tmp_path):
    assert read_control_statements(tmp_path, "by\nAnna").of(NAMES) == StatementsRecord(controls="by Anna")
    assert read_control_statements(None, None).of(NAMES) == StatementsRecord()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("file,artist\n1.png,Anna\n", "statement_table"),
        ("", "statement_table"),
        ("name,made_by\n1.png,A\n1.png,B\n", "statement_twice"),
    ],
)
def test_a_table_that_is_none(tmp_path, text, code):
    with refuses(f"evidence.{code}"):
        read_control_statements(table(tmp_path, text), None)


def test_more_refusals(tmp_path):
    with refuses("evidence.long_statement", most=500):
        read_control_statements(None, "x" * 501)
    with refuses("evidence.statement_table"):
        read_control_statements(table(tmp_path, "name,made_by\n1.png,é\n", "latin-1"), None)
    stated = read_control_statements(table(tmp_path, "name,made_by\nnone.png,Anna\n"), None)
    with refuses("evidence.statement_of_nothing", name="none.png"):
        stated.check_names(NAMES)


def test_statements_are_printed_as_claims(tmp_path):
    made = (ControlStatementRecord(made_by="Anna", made_on="2024"), *[ControlStatementRecord()] * 39)
    stated = StatementsRecord(controls="all mine", of_controls=made)
    record = write_evidence(result_of([2.0]), tmp_path, MODELS, statements=stated)
    assert record.statements == stated and record.format == FORMAT
    said = " ".join(origin_sentences(record))
    assert "states of the control pictures: “all mine”. Nothing here confirms it" in said
    cells = [text for block in report_blocks(record, "0" * 64) for text in block_texts(block)]
    assert "0.png (as stated: Anna, 2024)" in cells and "1.png" in cells


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("/home/anna/x.png", "~/x.png"),
        ("see /home/anna/x.png, please", "see ~/x.png, please"),
        ("(C:\\Users\\anna\\x.png)", "(~\\x.png)"),
        ("base=/Users/anna/m", "base=~/m"),
        ("c:\\users\\Anna Smith\\x.png", "~\\x.png"),
        ("file:///home/anna/x.png", "file://~/x.png"),
        ("org/home/anna", "org/home/anna"),
        ("https://example.org/home/anna", "https://example.org/home/anna"),
        ("/srv/scratch/anna/x.png", "/srv/scratch/~/x.png"),
        ("/srv/hannah/x.png", "/srv/hannah/x.png"),
        ("anna/lora", "anna/lora"),  # a repository of the Hub names its owner
    ],
)
def test_a_home_folder_and_the_user_s_name_in_a_path(text, written):
    assert without_home(text, Path("/data/people/anna")) == written
    assert without_home(written) == written or "/home/" in written


def test_no_place_of_a_record_holds_a_home_folder():
    """Every text of a record, and every key, is a path in somebody's home folder."""
    home = "/home/anna/models"
    note = Note("evidence.text", {"text": f"at {home}/x", "more": [home, {"deep": home}]})
    models = dataclasses.replace(
        MODELS,
        base=home,
        suspect=f"{home}/x.safetensors",
        embeddings=(home,),
        unrelated=home,
        configuration=home,
        warning=note,
        remarks=(note,),
        anchors={
            "suspect": AnchorRecord(location=home, version=home, published=None, retrieved=None, stated={home: "0"})
        },
    )
    result = result_of([2.0])
    picture = dataclasses.replace(result.pictures[0].picture, name=f"{home}/p.png", notes=(note,))
    controls = tuple(dataclasses.replace(c, name=f"{home}/{c.name}", notes=(note,)) for c in result.controls)
    changed = {
        "pictures": (dataclasses.replace(result.pictures[0], picture=picture),),
        "controls": controls,
        "fingerprints": {f"{home}/unet.safetensors": "0" * 64},
        "base_files": (f"{home}/unet.safetensors",),
        "notes": (note,),
    }
    stated = StatementsRecord(controls=f"from {home}/mine", of_controls=(ControlStatementRecord(made_by=home),) * 40)
    record = make_record(dataclasses.replace(result, **changed), models, controls, stated)
    written = json.loads(record_bytes(without_homes(record)))
    assert "anna" not in json.dumps(written) and written["models"]["sha256"] == {"~/models/unet.safetensors": "0" * 64}
    assert without_homes(without_homes(record)) == without_homes(record)
