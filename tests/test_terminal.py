"""Texts from outside on a terminal: one line each, which commands nothing."""

import dataclasses
import io
import sys
from pathlib import Path

import pytest

from cgidm.cli import main
from cgidm.errors import UserError
from cgidm.messages.text import print_line, single_line
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
    assert ("90% of used pictures are found" in capsys.readouterr().out) == told


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
