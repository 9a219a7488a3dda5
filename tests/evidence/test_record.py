"""The record: typed, read back as it was written, older formats too; what is no record is refused."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgidm.evidence.record import FORMAT, Record, read_record, record_bytes
from cgidm.evidence.record_of_result import config_of, lineup_of, make_record
from cgidm.evidence.record_settings import ConfigRecord, RecoveryRecord
from cgidm.judging.lineup import Lineup, Round
from cgidm.messages import Note, english
from cgidm.method.config import PRESETS, RecoveryConfig, RunConfig
from tests.support.bundles import MODELS
from tests.support.errors import refuses
from tests.support.paths import ASSETS, ROOT
from tests.support.results import result_of

OLD = ROOT / "tests" / "evidence" / "format-1.json"  # written by version 0.1.0


def record() -> Record:
    lineup = Lineup((Round(0, "B", (3, 4)), Round(1, "A", (5, 6))))
    return make_record(dataclasses.replace(result_of([2.0, 3.0], power=0.9), lineup=lineup), MODELS)


def test_what_is_written_is_read_back():
    written = record()
    assert read_record(record_bytes(written), "x") == written and written.format == FORMAT
    assert config_of(written) == dataclasses.replace(PRESETS["paper"], mirror_draws=0) and lineup_of(written).sizes == (
        3,
        3,
    )


def test_the_configuration_is_recorded_field_by_field():
    for typed, recorded in ((RunConfig, ConfigRecord), (RecoveryConfig, RecoveryRecord)):
        assert [f.name for f in dataclasses.fields(typed)] == [f.name for f in dataclasses.fields(recorded)]
    for config in PRESETS.values():
        made = make_record(dataclasses.replace(result_of([2.0]), config=config), MODELS)
        assert config_of(read_record(record_bytes(made), "x")) == config


def test_every_sentence_of_a_record_is_a_message():
    made = record()
    notes = [p.reason for p in made.pictures] + [made.set.reason, *(f.note for p in made.pictures for f in p.flags)]
    assert notes and all(n.code in english() for n in notes)


def test_a_record_of_format_1_is_read_in_the_words_of_this_one():
    old = json.loads(OLD.read_text())
    new = read_record(OLD.read_bytes(), "old")
    assert new.format == 1 and new.pictures[0].name == old["pictures"][0]["path"]
    assert new.pictures[0].scores == old["pictures"][0]["scores"]
    assert str(new.pictures[0].reason) == old["pictures"][0]["reason"]
    assert new.models.suspect == old["models"]["finetuned"] and new.expected_power == old["power"]
    assert new.pictures[0].distance_from_base == old["pictures"][0]["shift"]
    assert config_of(new).preset == old["config"]["preset"]
    again = dataclasses.replace(new, format=FORMAT)
    assert read_record(record_bytes(again), "again") == again


def test_the_answers_that_ship_have_this_format():
    for path in sorted((ASSETS / "answers").rglob("result.json")):
        assert read_record(path.read_bytes(), path.name).format == FORMAT


@pytest.mark.parametrize("data", [None, b"", b"[]", b"{", b"3", b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_refused(data):
    with refuses("evidence.no_record", name="mine"):
        read_record(data, "mine")


def test_a_newer_format_is_refused():
    with refuses("evidence.newer_record", format=str(FORMAT + 1)):
        read_record(json.dumps({"format": FORMAT + 1}).encode(), "mine")


def places(value, path=()):
    """Every place in plain data."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from places(part, (*path, key))


PLAIN = json.loads(record_bytes(record()))
for shortened in PLAIN["pictures"]:
    shortened["contrast"] = shortened["contrast"][:2]
PLAIN |= {"control_scores": PLAIN["control_scores"][:2], "controls": []}
PLACES = [p for p in places(PLAIN) if p and p[0] != "format"]


@settings(max_examples=min(500, settings.default.max_examples))
@given(st.sampled_from(PLACES), st.sampled_from([None, 3, "x", [], {}, [None], {"x": 1}, True, -1.5]))
def test_a_value_of_another_kind_is_refused_or_read_as_its_own_kind(place, value):
    changed = json.loads(json.dumps(PLAIN))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    try:
        found = read_record(json.dumps(changed).encode(), "mine")
    except ValueError as error:
        assert getattr(error, "code", "") == "evidence.damaged_record"
    else:
        assert isinstance(found, Record) and read_record(record_bytes(found), "again") == found


def test_an_unknown_note_is_shown_as_itself():
    assert str(Note("judging.of_a_later_version", {"n": 3})) == "judging.of_a_later_version: n = 3"
