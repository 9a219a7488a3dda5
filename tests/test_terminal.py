"""Texts from outside on a terminal: one line each, which commands nothing."""

import dataclasses
import io
import sys
from pathlib import Path

import pytest

from cgidm.cli import main
from cgidm.errors import UserError
from cgidm.judging.banks.null_bank import open_bank
from cgidm.judging.mirror_test import MirrorReference
from cgidm.messages.text import print_line, single_line
from cgidm.resources import resource_root
from cgidm.run.result_table import print_table
from tests.support.picture_files import encoded, picture
from tests.support.results import result_of

HOSTILE = "mine\x1b[31m\x1b]0;title\x07\rOK: nothing found\n\u202egnp.\x9bA\udcff.png"


def commands(text):
    """The characters of a text that a terminal or a reader would not see as letters."""
    return [c for c in text if not c.isprintable()]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_a_line_is_one_line_of_letters_in_any_encoding(encoding, monkeypatch):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stderr", file)
    print_line(f"a   b  {HOSTILE} 水", to_stderr=True)
    file.flush()
    line = raw.getvalue().decode(encoding)
    assert line.endswith("\n") and commands(line[:-1]) == [] and line.startswith("a   b  mine")


def test_a_refusal_cleans_names_and_paths():
    for path in (HOSTILE, Path(HOSTILE)):
        error = UserError("pictures.missing", path=path)
        assert commands(str(error)) == [] and single_line(HOSTILE) in str(error)


def test_no_name_of_a_picture_commands_the_terminal(tmp_path, capsys):
    result = result_of([2.0])
    (only,) = result.pictures
    named = dataclasses.replace(only, picture=dataclasses.replace(only.picture, name=HOSTILE))
    print_table(dataclasses.replace(result, pictures=(named,)), "lineup.html")
    said = capsys.readouterr().out.splitlines()
    assert [commands(line) for line in said if commands(line)] == []
    assert any(line.startswith(f"…{single_line(HOSTILE)[-31:]}") for line in said)
    assert not any(line.startswith("OK") for line in said)


@pytest.mark.parametrize(("score", "told"), [(2.0, False), (-2.0, True)])
def test_how_many_used_pictures_are_found_is_told_of_silence_alone(score, told, capsys):
    print_table(result_of([score], power=0.9), "lineup.html")
    assert ("90% or more of used pictures are found" in capsys.readouterr().out) == told


@pytest.mark.parametrize(("mirror_power", "caveat"), [(0.9, False), (0.95, True)])
def test_mirrored_training_is_spoken_of_where_the_mirror_test_s_share_is_told(mirror_power, caveat, capsys):
    mirror = MirrorReference("table", tuple(0.1 * i for i in range(-30, 30)), 0.2, 18)
    result = result_of([-2.0], power=0.9, mirror=mirror, mirror_scores=[0.0])
    print_table(dataclasses.replace(result, expected_power=mirror_power), "lineup.html")
    said = capsys.readouterr().out
    assert f"{mirror_power:.0%} or more of used pictures are found" in said and ("mirrored" in said) == caveat


def test_a_bank_s_share_is_told_as_that_of_its_own_models(capsys):
    bank = open_bank(resource_root() / "banks" / "rollandin-lora")
    print_table(dataclasses.replace(result_of([-2.0], power=0.9), bank=bank), "lineup.html")
    said = capsys.readouterr().out
    assert "the bank's own models were trained on, 90% are found" in said and "nearly all" not in said


def test_a_refused_picture_s_name_does_not_command_the_terminal(tmp_path, capsys):
    path = tmp_path / "bad\x1b[2J.png"
    path.write_bytes(b"<html>")
    assert main(["authenticate", str(path), "--base", "shipped:mini", "--suspect", "shipped:mini"]) == 2
    said = capsys.readouterr().err
    assert commands(said.removesuffix("\n")) == [] and "bad" in said


def test_files_that_are_passed_over_are_counted_on_the_terminal(tmp_path, capsys):
    for name in ("a.jfif", "._a.jfif", "b.psd"):
        (tmp_path / name).write_bytes(encoded(picture((64, 64)), "JPEG"))
    (tmp_path / "a.png").write_bytes(encoded(picture((64, 64))))
    base = str(tmp_path / "no base")
    given = [str(tmp_path / "a.png"), "--base", base, "--suspect", base, "--controls", str(tmp_path)]
    assert main(["authenticate", *given]) == 2
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith(str(tmp_path)) and "1 x .psd" in line for line in said) and len(said) == 2


def test_a_control_that_cannot_be_read_is_named_before_a_model_is_opened(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(encoded(picture((64, 64))))
    (tmp_path / "controls").mkdir()
    (tmp_path / "controls" / "b.jpg").write_bytes(b"<html>")
    base = str(tmp_path / "no base")
    given = [str(tmp_path / "a.png"), "--base", base, "--suspect", base, "--controls", str(tmp_path / "controls")]
    assert main(["authenticate", *given]) == 2
    assert "b.jpg is not a picture" in capsys.readouterr().err
