"""The stages `speed`, `training` and `recovery`: the benchmark's own commands, and what the page needs of them."""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cgidm.resources import resource_root
from eval.benchmark.cli import run_finetune, run_prepare, run_score, run_table
from eval.benchmark.datasets import Manifest, load_manifest
from eval.benchmark.plan import Suspect, plan_suspects
from eval.benchmark.stages import Setting
from eval.reality.plan import RealityPlan
from eval.reality.stages import Sitting
from eval.speed.arms import ARMS
from eval.speed.bench import BenchRun, choose_device, choose_dtype, quicken, run_bench
from eval.speed.measure import Settings
from eval.speed.subjects import find_subject


def measure_speed(sitting: Sitting) -> dict[str, Any]:
    """Time recoveries beside the public code; `bench/` has all of it."""
    bench, device = sitting.plan.bench, choose_device("auto")
    settings = Settings(device, choose_dtype("auto", device), ARMS, bench.pictures)
    settings = replace(quicken(settings), pictures=bench.pictures) if bench.quick else settings
    job = BenchRun(settings, budget=bench.seconds, quick=bench.quick, out=sitting.out / "bench")
    report = run_bench([find_subject(name, resource_root()) for name in bench.models], job, sitting.tell)
    names = ("model", "pair", "arm", "pictures", "seconds_per_evaluation", "times_reference", "not_measured")
    return {"machine": report["machine"], "rows": [{n: row.get(n) for n in names} for row in report["rows"]]}


def evaluation_seconds(plan: RealityPlan, found: Mapping[str, Any]) -> float:
    """Seconds of one evaluation of the paper's recovery: as measured, or as the plan assumes."""
    rows = found.get("speed", {}).get("rows", ())
    measured = [row["seconds_per_evaluation"] for row in rows if row["arm"] == "paper"]
    return min((seconds for seconds in measured if seconds), default=plan.seconds_per_evaluation)


def train_suspects(sitting: Sitting) -> list[dict[str, Any]]:
    """Train the suspects of all experiments: `python -m eval finetune`. Those that two experiments share are one."""
    found: dict[str, dict[str, Any]] = {}
    for index in range(len(sitting.plan.experiments)):
        options = experiment_options(sitting, index)
        run_prepare(options)
        run_finetune(options)
        setting, manifest = experiment_setting(sitting, index)
        for suspect in plan_suspects(setting.experiment, manifest):
            folder = suspect.model.folder(setting.work, setting.base_weights)
            written = json.loads((folder / "training.json").read_text(encoding="utf-8"))
            used = [p.file for p in suspect.pictures]
            found[folder.name] = {"name": suspect.name, "pictures": used, "files": written["files"]}
    return list(found.values())


def score_experiments(sitting: Sitting) -> list[dict[str, Any]]:
    """Score every picture and write the tables of each experiment: `python -m eval score` and `table`."""
    found = []
    for index, experiment in enumerate(sitting.plan.find_experiments()):
        options = experiment_options(sitting, index)
        run_score(options)
        run_table(options)
        summary = json.loads((options.out / "summary.json").read_text(encoding="utf-8"))
        rows = [_short(row) for part in ("trained", "chance") for row in summary[part]]
        found.append({"experiment": experiment.name, "rows": rows, "blind": summary["blind"]})
    return found


def experiment_options(sitting: Sitting, index: int) -> Namespace:
    """The options of `python -m eval run` for one experiment."""
    name = sitting.plan.experiment_name(index)
    return Namespace(
        experiment=name,
        data=sitting.data,
        work=sitting.out / "work",
        out=sitting.out / "tables" / sitting.plan.find_experiments()[index].name,
        workers=sitting.workers,
        engine=sitting.engine,
        address=sitting.address,
    )


def experiment_setting(sitting: Sitting, index: int = 0) -> tuple[Setting, Manifest]:
    """An experiment with the pictures that `prepare` listed."""
    experiment = sitting.plan.find_experiments()[index]
    work = (sitting.out / "work").absolute()
    manifest = load_manifest(work / experiment.name / "manifest.json")
    return Setting(experiment, sitting.data.absolute(), work), manifest


def choose_suspects(suspects: Sequence[Suspect]) -> tuple[Suspect, Suspect]:
    """A LoRA of the first subject, and a full network of the last one, for verdicts."""
    lora = next(s for s in suspects if s.config.mode == "lora")
    return lora, next(s for s in reversed(suspects) if s.config.mode != "lora" and s.concept != lora.concept)


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("role", "dataset", "training", "method", "measure", "evaluations", "members", "holdouts", "auc")
    return {name: row.get(name) for name in names}
