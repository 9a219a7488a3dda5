"""Inputs that people met: each is made by its recipe, given to the command line, and answered rightly.

A folder here holds a `case.json`: what somebody gave, where that is public, and what is right.
"""

import json
import logging
import math
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cgidm.families import load_pair
from cgidm.messages import Note, english
from tests.support.adapters import model_of
from tests.support.cases import pictures
from tests.support.cases.bases import BASES, Shelf
from tests.support.cases.case import FOLDER, read_cases
from tests.support.cases.command import run_command
from tests.support.cases.recipes import RECIPES
from tests.support.copied_bases import READ
from tests.support.paths import EXAMPLES
from tests.support.quick_presets import leave_pages_out

CASES = read_cases()
EXACT = 1e-5
LARGEST = 500_000  # bytes of an input


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    yield Shelf(tmp_path_factory.mktemp("bases"))
    READ.clear()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What a command may name beside its input."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("picture", "controls", "lora")}
    return {
        "picture": pictures.under_a_name(folders["picture"], name="sound").path,
        "controls": pictures.controls(folders["controls"]).path,
        "lora": RECIPES["adapter"](
            folders["lora"], base="SD 1.x", names="kohya", groups=[{"method": "LoRA", "modules": "UNet"}]
        ).path,
        "member": next((EXAMPLES / "rollandin-lora" / "member").iterdir()),
    }


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fill(argument, given, shelf, places):
    """An argument of a command, with the places that it names in braces."""
    named = {**places, "input": given.path}
    return re.sub(
        r"\{(\w+)(?::([^}]*))?\}", lambda m: str(shelf.place(m[2]) if m[1] == "base" else named[m[1]]), argument
    )


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id, marks=pytest.mark.slow if c.slow else ()) for c in CASES])
def test_a_case_is_answered_rightly(case, shelf, places, tmp_path, few_draws, monkeypatch, capfd, caplog):
    (tmp_path / "input").mkdir()
    given = case.make(tmp_path / "input")
    assert case.slow or size_of(tmp_path / "input") < LARGEST
    if not case.pages:
        leave_pages_out(monkeypatch.setattr)
    for number, run in enumerate(case.runs):
        command = [fill(argument, given, shelf, places) for argument in run.command]
        caplog.clear()
        with pytest.MonkeyPatch.context() as patch:
            answer = run_command(command, tmp_path / f"out-{number}", patch, capfd)
        out, err = answer.printed
        assert answer.exit == run.exit, out + err
        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []  # it prints them, too
        assert "Traceback" not in out + err and all(c.isprintable() or c == "\n" for c in out + err), out + err
        if run.exit:
            check_refusal(run, answer)
        else:
            check_answer(run, answer, given, command)


def check_refusal(run, answer):
    """It is refused in one line, by this code, and nothing else is printed."""
    out, err = answer.printed
    assert answer.error is not None and answer.error.code == run.error, err
    assert run.error in english() and err == f"error: {err.removeprefix('error: ').strip()}\n" and out == ""
    assert {k: json_value(answer.error.params.get(k)) for k in run.params or {}} == (run.params or {})


def check_answer(run, answer, given, command):
    """What is read and said is right, and every number is one."""
    assert {path: answer.value(path) for path in run.values or {}} == (run.values or {})
    assert run.notes is None or answer.notes() == list(run.notes)
    assert [note.code for note in answer.said] == list(run.said)
    assert all(math.isfinite(n) for n in numbers(answer.data))
    if command[0] == "authenticate":
        page = (answer.out / "report.html").read_text(encoding="utf-8")
        assert all(c.isprintable() or c.isspace() for c in page)
    if run.exact:
        check_network(answer.pairs[0], given.meant, command)
    if run.pixels is not None:
        read, meant = (np.asarray(image.convert("RGB")).astype(float) for image in (original(answer), given.meant))
        assert read.shape == meant.shape and np.abs(read - meant).mean() <= run.pixels


def check_network(pair, meant, command):
    """The suspect computes what is meant, which is something else than the base."""
    base, prompt = (command[command.index(option) + 1] for option in ("--base", "--prompt"))
    wanted = load_pair(base, str(meant), prompt).suspect if isinstance(meant, Path) else model_of(meant, prompt)
    x = torch.randn(2, pair.networks[0].config.in_channels, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        off, on, expected = (m.predict_eps(x, torch.tensor([10, 700])) for m in (pair.base, pair.suspect, wanted))
    torch.testing.assert_close(on, expected, atol=EXACT, rtol=0)
    assert (on - off).abs().max() > 100 * EXACT


def original(answer):
    """The picture of the evidence."""
    return Image.open(answer.out / "00-original.png")


def numbers(value):
    """Every number of a record."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


def json_value(value):
    """A parameter as the record would have it."""
    return json.loads(json.dumps(value, default=lambda v: asdict(v) if isinstance(v, Note) else str(v)))


def test_no_case_is_missing():
    ids = (FOLDER / "ids.txt").read_text(encoding="utf-8").split()
    assert len(ids) == len(set(ids)) >= 91
    assert sorted(case.id for case in CASES) == ids == sorted(path.parent.name for path in FOLDER.glob("*/*/case.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_field_of_a_case_is_filled_in(case):
    assert all(text.strip() == text and text for text in (case.id, case.given, case.right, *case.reports))
    assert case.reports and case.runs and case.input["recipe"] in RECIPES
    for run in case.runs:
        assert run.command[0] in ("inspect", "authenticate") and "{input}" in " ".join(run.command)
        if run.exit:
            assert run.exit == 2 and run.error in english()
            assert not (run.values or run.notes or run.said or run.exact or run.pixels is not None)
        else:
            assert run.exit == 0 and run.error is None and run.params is None
            assert run.values or run.notes or run.exact or run.pixels is not None


def test_every_recipe_and_base_is_in_use():
    assert {case.input["recipe"] for case in CASES} == set(RECIPES)
    named = " ".join(argument for case in CASES for run in case.runs for argument in run.command)
    assert {name for name in BASES if f"{{base:{name}}}" not in named} <= {case.input.get("base") for case in CASES}
