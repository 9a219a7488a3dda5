"""How far repeated runs are from recorded ones: what is measured, and that the committed measurement holds."""

import json
import os
import shutil

import pytest
import torch

from cgidm.evidence.reruns.rerun_diff import (
    HALF_EMBEDDER_OTHER_MACHINE,
    HALF_OTHER_MACHINE,
    OTHER_MACHINE,
    Comparison,
    Row,
)
from cgidm.method.config import PRESETS
from eval.studies import reruns
from tests.support.errors import refuses
from tests.support.paths import ASSETS, RESULTS
from tests.support.processor import HALF_IS_FAST
from tests.support.quick_presets import use_few_draws

pytestmark = pytest.mark.slow

RECORDED = (
    Row("a.jpg", "loss_contrast", 0.5, 0.5002, OTHER_MACHINE),
    Row("a.jpg", "removed_gain", 0.5, 0.4997, OTHER_MACHINE),
    Row("a.jpg", "efficientnet_lite0", 0.5, 0.51, OTHER_MACHINE),
    Row("a.jpg", "recovered picture", 0.0, 0.0004, OTHER_MACHINE),
)


def comparison(rows, outcomes=(), differing=()):
    limits = {"tolerance": OTHER_MACHINE, "embedder_tolerance": OTHER_MACHINE}
    return Comparison(rows=rows, outcomes=outcomes, differing=differing, **limits)


def test_differences_are_told_by_their_kind():
    outcomes = (("a.jpg", "no evidence", "no evidence"), ("all together", "no evidence", "cannot tell"))
    found = reruns.summarise(comparison(RECORDED, outcomes, ("another machine",)))
    assert {k: pytest.approx(found[k]) for k in ("scores", "embedder", "pictures")} == {
        "scores": 3e-4,
        "embedder": 1e-2,
        "pictures": 4e-4,
    }
    assert (found["answers"], found["answers_that_differ"], found["accepted"]) == (2, 1, False)


def test_a_number_that_is_missing_is_no_agreement():
    gone = Row("a.jpg", "dino", 0.5, None, OTHER_MACHINE)
    with refuses("studies.not_repeated", score="dino", picture="a.jpg"):
        reruns.summarise(comparison((*RECORDED, gone)))


def test_a_process_starts_with_its_own_instructions(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx512")
    place = reruns.RerunEnvironment("SSE4", torch="default", convolutions="SSE41")
    with reruns.start_process(place.variables()) as process:
        seen = [process.submit(os.getenv, name).result() for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")]
        assert process.submit(torch.backends.cpu.get_cpu_capability).result() == "DEFAULT"
    assert seen == ["default", "SSE41"]
    assert os.environ["ATEN_CPU_CAPABILITY"] == "avx512" and "ONEDNN_MAX_CPU_ISA" not in os.environ


def test_a_run_is_recorded_and_repeated(tmp_path, monkeypatch):
    """One member, one holdout and a few controls, on one thread, in bfloat16 where the processor has it.

    With few draws and steps, but all draws of the mirror test, which is one of the answers.
    """
    use_few_draws(monkeypatch.setitem, mirror_draws=PRESETS["fast"].mirror_draws, steps=4)
    precision = "bfloat16" if HALF_IS_FAST else "float32"
    monkeypatch.setattr(reruns, "THREADS", 1)
    name = "rollandin-lora"
    example = tmp_path / "examples" / name
    for part, most in (("member", 1), ("holdout", 1)):
        _some(ASSETS / "examples" / name / part, example / part, most)
    _some(ASSETS / "controls" / name, tmp_path / "controls" / name, 3)
    shutil.copytree(ASSETS / "examples" / name / "checkpoint", example / "checkpoint")
    shutil.copy(ASSETS / "examples" / name / "example.json", example)
    (tmp_path / "mini").symlink_to(ASSETS / "mini")
    machine = reruns._record(tmp_path, example, "fast", precision, tmp_path / "bundle")
    assert (machine["precision"], machine["threads"]) == (precision, 1)
    found = reruns._rerun(tmp_path / "bundle", 1)
    assert [found[k] for k in ("scores", "pictures", "embedder", "answers_that_differ")] == [0, 0, 0, 0]
    assert found["accepted"] and found["answers"] == 4


def _some(source, target, most):
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:most]:
        shutil.copy(path, target)


def test_the_committed_differences_are_within_the_tolerances():
    """By a factor of two at least: another machine is not one of those that were tried."""
    report = json.loads((RESULTS / "reruns.json").read_text())
    tried = [(r["preset"], r["precision"], r["elsewhere"]) for r in report["rows"]]
    assert sorted(tried) == sorted((*run, place.name) for place in reruns.ENVIRONMENTS for run in place.of)
    for row in report["rows"]:
        half = row["precision"] == "bfloat16"
        limit, seen = (HALF_OTHER_MACHINE, HALF_EMBEDDER_OTHER_MACHINE) if half else (OTHER_MACHINE, OTHER_MACHINE)
        assert row["accepted"] and row["answers_that_differ"] == 0 and row["answers"] == 10
        assert max(row["scores"], row["pictures"]) < limit / 2 and row["embedder"] < seen / 2
        if row["elsewhere"] == reruns.ENVIRONMENTS[0].name:
            assert row["scores"] == row["pictures"] == row["embedder"] == 0
    assert (RESULTS / "reruns.md").read_text() == reruns.reruns_table(report)
