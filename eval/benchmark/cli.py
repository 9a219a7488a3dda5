"""The benchmark's commands: `prepare`, `finetune`, `score`, `table`, or `run`, which is all four.

Stages talk through files below the working folder: a manifest of the pictures and their split, trained suspects, and
the ledger of scores. To resume, run the same command again. Two commands at once do no harm.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cgidm.errors import UserError
from cgidm.pictures.embedders import SHIPPED_NAME, load_embedders
from cgidm.training.trained_model import weight_digests
from eval.analysis.fused import CONCEPTS_NEEDED
from eval.benchmark.blind_split import blind_dataset
from eval.benchmark.datasets import Manifest, load_manifest, prepare
from eval.benchmark.engine import run_local, run_ray
from eval.benchmark.experiment import Experiment, load_experiment
from eval.benchmark.fetch import fetch
from eval.benchmark.ledger import Ledger, make_key
from eval.benchmark.report import write_report
from eval.benchmark.stages import Setting, collect, describe_cost, score_jobs, train_jobs
from eval.options import RESULTS, default_workers


def run_prepare(o: argparse.Namespace) -> Manifest:
    """List and split the pictures, and test whether the halves differ by themselves."""
    experiment = load_experiment(o.experiment)
    manifest = prepare(experiment, o.data, _manifest_file(o, experiment))
    for dataset in manifest.datasets.values():
        pictures = sum(len(half) for concept in dataset.concepts for half in concept.halves)
        print(f"{dataset.name}: {len(dataset.concepts)} concepts, {pictures} pictures, {len(dataset.dropped)} left out")
        if experiment.report.fused and len(dataset.concepts) < CONCEPTS_NEEDED:
            counts = {"least": CONCEPTS_NEEDED, "given": len(dataset.concepts)}
            raise UserError("benchmark.fused_needs_concepts", dataset=dataset.name, **counts)
    for name, blind in _blind(o, experiment, manifest).items():
        auc, chance = f"AUC {blind['auc']:.2f}", f"chance {blind['chance']:.2f}"
        print(f"{name}: the pictures alone tell its halves with {auc} ({chance}, p = {blind['p_value']:.2f})")
    return manifest


def _blind(o: argparse.Namespace, experiment: Experiment, manifest: Manifest) -> dict[str, Any]:
    """What the pictures alone betray of the split, by dataset; kept beside the manifest that it belongs to."""
    digest, path = make_key(manifest=asdict(manifest)), _manifest_file(o, experiment).with_name("blind.json")
    if path.exists() and (held := json.loads(path.read_text()))["manifest"] == digest:
        return held["datasets"]
    embedder = load_embedders().ready[SHIPPED_NAME]
    found = {name: asdict(blind_dataset(d, o.data, embedder)) for name, d in manifest.datasets.items()}
    path.write_text(json.dumps({"manifest": digest, "datasets": found}, indent=1) + "\n")
    return found


def run_finetune(o: argparse.Namespace) -> None:
    """Train the missing suspects."""
    setting, manifest = _setting(o)
    jobs = train_jobs(setting, manifest)
    print(f"{len(jobs)} suspects to train")
    _execute(o, jobs, "picture")


def run_score(o: argparse.Namespace) -> None:
    """Compute the missing scores."""
    setting, manifest = _setting(o)
    jobs = score_jobs(setting, manifest, _ledger(o))
    print(f"{len(jobs)} units to score")
    _execute(o, jobs, "evaluation")


def run_table(o: argparse.Namespace) -> None:
    """Write tables and figures."""
    setting, manifest = _setting(o)
    rows, missing = collect(setting, manifest, _ledger(o))
    if missing:
        raise UserError("benchmark.answers_missing", count=missing, experiment=o.experiment)
    out = o.out or RESULTS.joinpath(*setting.experiment.name.split("-", 1))
    experiment = setting.experiment
    started = dict.fromkeys(experiment.base_of(training) for training in experiment.trainings)
    bases = {base: weight_digests(base) for base in started} if experiment.bases else None
    write_report(experiment, _blind(o, experiment, manifest), asdict(manifest), rows, out, bases)
    print(f"written to {out}")


def run_all(o: argparse.Namespace) -> None:
    """Run all four stages."""
    manifest = run_prepare(o)
    if o.dry_run:
        print(describe_cost(load_experiment(o.experiment), manifest))
        return
    for stage in (run_finetune, run_score, run_table):
        stage(o)


def run_fetch(o: argparse.Namespace) -> None:
    """Download a dataset."""
    fetch(o.dataset, o.data)


def _setting(o: argparse.Namespace) -> tuple[Setting, Manifest]:
    experiment = load_experiment(o.experiment)
    path = _manifest_file(o, experiment)
    manifest = load_manifest(path)
    return Setting(experiment, o.data.absolute(), o.work.absolute()), manifest


def _execute(o: argparse.Namespace, jobs: list[Any], unit: str) -> None:
    workers = o.workers or default_workers()
    if o.engine == "ray":
        run_ray(jobs, _ledger(o), unit, o.address, workers)
    else:
        run_local(jobs, _ledger(o), workers, unit)


def _ledger(o: argparse.Namespace) -> Ledger:
    return Ledger(o.work.absolute() / "ledger.db")


def _manifest_file(o: argparse.Namespace, experiment: Experiment) -> Path:
    return o.work / experiment.name / "manifest.json"
