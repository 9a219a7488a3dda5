"""What a machine lacks for the paper's own models: each lack is named once, in order, and none that is not there."""

from dataclasses import replace
from pathlib import Path

import pytest

from cgidm.doctor.finding import Finding
from cgidm.doctor.machine import Folder, Gpu, HubFacts, TorchFacts, gather_machine
from cgidm.messages import note
from eval.__main__ import main
from eval.studies import reality

GPU = Gpu(name="card", capability=(9, 0), free=24 * 10**9, total=24 * 10**9)
HUB = HubFacts("https://hub.invalid", False, Folder(Path("cache")))
CODES = ("studies.reality_no_gpu", "studies.reality_no_hub", "studies.reality_no_packages")


@pytest.fixture
def machine(monkeypatch):
    """A function from what a machine has to what it is said to lack."""

    def lacks(gpu, hub, packages):
        status = "ok" if hub else "warning"
        monkeypatch.setattr(reality, "check_hub", lambda _: [Finding("Hub", status, note("doctor.hub", host="hub"))])
        torch = TorchFacts(version="2.6", cuda="12.8", gpu=GPU if gpu else None)
        found = replace(gather_machine(), torch=torch, hub=HUB)
        requirements = ["numpy>=1", *([] if packages else ["no-such-package-here>=9"])]
        return [lack.code for lack in reality.list_missing(found, requirements)]

    return lacks


@pytest.mark.parametrize("has", [(g, h, p) for g in (0, 1) for h in (0, 1) for p in (0, 1)])
def test_each_lack_is_named_once_and_in_order(machine, has):
    assert machine(*has) == [code for code, there in zip(CODES, has, strict=True) if not there]


def test_a_library_that_cannot_be_imported_is_no_gpu(machine, monkeypatch):
    broken = replace(gather_machine(), torch=note("doctor.package_missing", package="torch"), hub=HUB)
    monkeypatch.setattr(reality, "check_hub", lambda _: [])
    assert [lack.code for lack in reality.list_missing(broken, [])] == [CODES[0]]


def test_the_requirements_are_those_of_the_extra():
    names = [requirement.split(">")[0] for requirement in reality.benchmark_requirements()]
    assert {"torch", "diffusers", "pyarrow", "imagehash"} <= set(names) and "gradio" not in names


def test_the_command_says_it_and_exits_with_1(monkeypatch, capsys):
    monkeypatch.setattr(reality, "list_missing", lambda *_: [note(CODES[0])])
    with pytest.raises(SystemExit) as end:
        main(["reality", "--check"])
    assert end.value.code == 1 and len(capsys.readouterr().out.strip().splitlines()) == 1


def test_without_check_it_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["reality"])
    assert end.value.code == 2 and "--check" in capsys.readouterr().err
