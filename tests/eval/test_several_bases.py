"""An experiment whose trainings start from several bases: each suspect is compared with its own."""

import json

import pytest

from cgidm.training.trained_model import weight_digests
from eval.__main__ import main
from eval.benchmark.datasets import load_manifest
from eval.benchmark.experiment import load_experiment
from eval.benchmark.plan import plan_suspects, plan_units
from tests.support.benchmark_runs import arguments_of
from tests.support.tiny_benchmark import STEP, write_experiment
from tests.support.tiny_families import alt_diffusion
from tests.support.tiny_flow import flux

pytestmark = pytest.mark.slow
TRAININGS = {"SD": "base", "Alt": "alt", "flow": "flow"}


def test_each_suspect_starts_from_its_base_and_is_compared_with_it(tmp_path):
    alt_diffusion().save_pretrained(tmp_path / "alt")
    flux(guidance=False).save_pretrained(tmp_path / "flow")
    write_experiment(
        tmp_path,
        datasets={"art": {"folder": "art", "concepts": 2, "pictures": 4, "prompt": "abc", "class_prompt": "ab"}},
        trainings={name: {"mode": "dreambooth", **STEP} for name in TRAININGS},
        bases={name: str(tmp_path / TRAININGS[name]) for name in ("Alt", "flow")},
        methods=[{"method": "loss_contrast", "draws": 1}],
        chance={"training": "Alt", "methods": ["loss_contrast"]},
        report={"factor": "training", "pairs": [["loss_contrast", "contrast"]]},
    )
    main(arguments_of(tmp_path, "one", "--workers", 1))
    experiment = load_experiment(str(tmp_path / "tiny.json"))
    manifest = load_manifest(tmp_path / "one" / "work" / "tiny" / "manifest.json")
    for made in (*plan_suspects(experiment, manifest), *plan_units(experiment, manifest)):
        name = "Alt" if made.training == "none" else made.training
        assert made.base == str(tmp_path / TRAININGS[name])
    halves = {(s.concept, s.half): set() for s in plan_suspects(experiment, manifest)}
    for s in plan_suspects(experiment, manifest):
        halves[s.concept, s.half].add(s.pictures)
    assert all(len(pictures) == 1 for pictures in halves.values()), "all bases are asked about the same halves"
    summary = json.loads((tmp_path / "one" / "out" / "summary.json").read_text())
    assert {e["training"] for e in summary["trained"]} == set(TRAININGS)
    assert summary["bases"] == {
        str(tmp_path / folder): list(weight_digests(str(tmp_path / folder))) for folder in TRAININGS.values()
    }
    innocent = [e for e in summary["chance"] if e["role"] == "innocent"]
    assert innocent and all(e["auc"] == 0.5 for e in innocent), "Alt's own base knows nothing"
