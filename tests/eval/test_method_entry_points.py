"""A method of another package: found by its entry point, in the tables, in the keys; what is wrong with one is said."""

import json
import re
import sys
import textwrap
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from cgidm.training.split import PictureFile
from eval.__main__ import main
from eval.benchmark.datasets import Concept
from eval.benchmark.experiment import Experiment, load_experiment
from eval.benchmark.methods import METHODS, find_method, method_names, package_of
from eval.benchmark.plan import Unit, answer_keys
from tests.support.benchmark_runs import arguments_of
from tests.support.errors import refuses
from tests.support.paths import ROOT
from tests.support.tiny_benchmark import EXPERIMENT, write_experiment

SOURCE = """
from dataclasses import dataclass
from typing import ClassVar

import torch

from eval.benchmark.methods.base import Answer


@dataclass(frozen=True)
class Brightness:
    visual: ClassVar[bool] = False
    name: str = "NAME"
    sign: int = 1

    @property
    def evaluations(self):
        return 0

    def __call__(self, case):
        return [Answer("brightness", 0, self.sign * case.images.mean((1, 2, 3)))]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that puts a package with one entry point on the path as an installer does: module and metadata."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def put(name, source=SOURCE, value="{module}:Brightness", version="1.2"):
        module, place = f"{name}_package", tmp_path / name
        place.mkdir()
        (place / f"{module}.py").write_text(textwrap.dedent(source).replace("NAME", name))
        metadata = place / f"{module}-{version}.dist-info"
        metadata.mkdir()
        facts = {"Metadata-Version": "2.1", "Name": module.replace("_", "-"), "Version": version}
        (metadata / "METADATA").write_text("".join(f"{k}: {v}\n" for k, v in facts.items()))
        (metadata / "entry_points.txt").write_text(f"[cgidm.methods]\n{name} = {value.format(module=module)}\n")
        sys.path.append(str(place))

    return put


def test_without_packages_there_are_our_own_methods_alone():
    assert method_names() == list(METHODS)
    assert all(package_of(name) is None and find_method(name) is METHODS[name] for name in METHODS)


def test_an_experiment_can_name_it_with_settings(install):
    install("shine")
    assert method_names() == [*METHODS, "shine"] and package_of("shine") == "shine-package 1.2"
    methods = [*EXPERIMENT["methods"], {"method": "shine", "sign": -1, "as": "dark"}]
    experiment = Experiment.model_validate({**EXPERIMENT, "base": "base", "methods": methods})
    found: Any = experiment.resolved()["dark"]
    assert (found.name, found.sign, found.evaluations) == ("shine", -1, 0)


def test_the_example_of_the_docs_is_a_method(install):
    page = (ROOT / "docs" / "benchmark" / "leaderboard.md").read_text(encoding="utf-8")
    code = page.split("`eval/benchmark/methods/base.py`")[1].split("\n\n", 1)[1].split("The package names it")[0]
    install("brightness", code)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    case: Any = SimpleNamespace(images=images)
    (answer,) = find_method("brightness")(case)
    assert (answer.measure, answer.evaluations) == ("mean", 0) and answer.scores.tolist() == pytest.approx(
        images.flatten(1).mean(1).tolist()
    )


def test_a_package_that_nobody_asks_for_is_not_imported(install):
    install("broken_unasked", "raise RuntimeError('no')")
    assert load_experiment("mini-table1").resolved() and "broken_unasked_package" not in sys.modules


def test_what_is_wrong_with_a_package_is_said(install):
    install("broken", "raise RuntimeError('no luck')")
    install("function", "def Brightness(): return 1\n")
    install("misnamed", SOURCE.replace("NAME", "other"))
    install("thawed", SOURCE.replace("frozen=True", "frozen=False"))
    wrong = {"broken": "method_broken", "function": "not_a_method", "misnamed": "method_name_differs"}
    for name, code in (wrong | {"thawed": "not_a_method"}).items():
        with refuses(f"benchmark.{code}", name=name):
            find_method(name)
    with pytest.raises(KeyError):
        find_method("absent")


def test_nobody_takes_the_name_of_ours(install):
    install("cgidm")
    with refuses("benchmark.method_name_taken", name="cgidm"):
        find_method("cgidm")
    assert find_method("pia") is METHODS["pia"]


@pytest.mark.slow
def test_it_appears_in_the_tables_with_its_package(install, tmp_path):
    install("lightness")
    changes = {
        "datasets": {"art": EXPERIMENT["datasets"]["art"]},
        "trainings": {"dreambooth": EXPERIMENT["trainings"]["dreambooth"]},
        "methods": ["sima", "lightness"],
        "chance": None,
        "report": {"pairs": [["lightness", "brightness"], ["sima", "contrast"]]},
    }
    write_experiment(tmp_path, **changes)
    main(arguments_of(tmp_path, "one", "--workers", 1))
    out = tmp_path / "one" / "out"
    assert re.search(r"^\| `lightness` \| `brightness` \| 0 \|", (out / "table.md").read_text(), re.MULTILINE)
    assert json.loads((out / "summary.json").read_text())["packages"] == {"lightness": "lightness-package 1.2"}
    table = pd.read_parquet(out / "scores.parquet")
    assert set(table["method"]) == {"sima", "lightness"} and len(table.query("method == 'lightness'")) == 3 * 2 * 4


def test_another_version_of_the_package_has_other_keys(install, monkeypatch):
    picture = PictureFile("a.png", "0" * 64)
    concept = Concept("cat", ((picture,), (picture,)))
    unit = Unit("art", "innocent", None, concept, 0, "abc", ("shade",), "base")
    experiment = Experiment.model_validate({**EXPERIMENT, "base": "base"})

    def keys(name):
        return answer_keys(unit, name, find_method(name), experiment, ["base"], ["base"], [])

    before = keys("pia")
    install("shade")
    first = keys("shade")
    assert keys("pia") == before
    monkeypatch.setattr("eval.benchmark.plan.package_of", lambda name: "shade-package 1.3")
    assert keys("shade") != first
