"""The benchmark's commands: `prepare`, `finetune`, `score`, `table`, or `run`, which is all four.

Stages talk through files below the working folder: a manifest of the pictures and their split, trained suspects, and
the ledger of scores. To resume, run the same command again. Two commands at once do no harm.
"""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cgidm.errors import UserError
from cgidm.pictures.embedders import load_embedders
from eval.analysis.fused import CONCEPTS_NEEDED
from eval.benchmark.blind_split import blind_dataset
from eval.benchmark.datasets import Manifest, load_manifest, prepare
from eval.benchmark.engine import run_local, run_ray
from eval.benchmark.experiment import Experiment, load_experiment
from eval.benchmark.fetch import fetch
from eval.benchmark.ledger import Ledger, make_key
from eval.benchmark.report import write_report
from eval.benchmark.stages import Setting, collect, describe_cost, score_jobs, train_jobs

RESULTS = Path("eval/results")
BLIND_EMBEDDER = "efficientnet_lite0"  # the one that ships
Register = Callable[..., argparse.ArgumentParser]


def register(command: Register) -> None:
    """Enter the commands."""
    stages: dict[str, tuple[Callable[[argparse.Namespace], object], str]] = {
        "prepare": (_prepare, "find the pictures, drop near-duplicates, split; writes the manifest"),
        "finetune": (_finetune, "train every suspect; resumes"),
        "score": (_score, "ask every method about every picture; resumes"),
        "table": (_table, "write tables and figures from the ledger"),
        "run": (_run, "all four stages; resumes"),
    }
    for name, (run, text) in stages.items():
        parser = command(name, run, text)
        parser.add_argument("experiment", help="a preset's name (eval/presets), or a .json file")
        parser.add_argument("--data", type=Path, default=Path("data"), help="folder with the datasets' folders")
        parser.add_argument("--work", type=Path, default=Path("runs"), help="manifest, suspects and ledger")
        if name in ("finetune", "score", "run"):
            parser.add_argument("--workers", type=_count, default=_default_workers(), help="processes, one thread each")
            parser.add_argument("--engine", choices=("local", "ray"), default="local")
            parser.add_argument("--address", help="of a Ray cluster; without one, a cluster is started on this machine")
        if name in ("table", "run"):
            parser.add_argument("--out", type=Path, help="of tables and figures; default below eval/results")
        if name == "run":
            parser.add_argument("--dry-run", action="store_true", help="say what it would cost, and stop")
    fetching = command("fetch", lambda o: fetch(o.dataset, o.data), "download a public dataset")
    fetching.add_argument("dataset", choices=("dreambooth", "wikiart"))
    fetching.add_argument("--data", type=Path, default=Path("data"))


def _prepare(o: argparse.Namespace) -> Manifest:
    experiment = load_experiment(o.experiment)
    manifest = prepare(experiment, o.data, _manifest_file(o, experiment))
    for dataset in manifest.datasets.values():
        pictures = sum(len(half) for concept in dataset.concepts for half in concept.halves)
        print(f"{dataset.name}: {len(dataset.concepts)} concepts, {pictures} pictures, {len(dataset.dropped)} left out")
        if experiment.report.fused and len(dataset.concepts) < CONCEPTS_NEEDED:
            needed = f"a fused rule is fitted on other concepts and needs {CONCEPTS_NEEDED}"
            raise UserError(f"{needed}; dataset {dataset.name} has {len(dataset.concepts)}: add some, or drop `fused`")
    for name, blind in _blind(o, experiment, manifest).items():
        auc, chance = f"AUC {blind['auc']:.2f}", f"chance {blind['chance']:.2f}"
        print(f"{name}: the pictures alone tell its halves with {auc} ({chance}, p = {blind['p_value']:.2f})")
    return manifest


def _blind(o: argparse.Namespace, experiment: Experiment, manifest: Manifest) -> dict[str, Any]:
    """What the pictures alone betray of the split, by dataset; kept beside the manifest that it belongs to."""
    digest, path = make_key(manifest=asdict(manifest)), _manifest_file(o, experiment).with_name("blind.json")
    if path.exists() and (held := json.loads(path.read_text()))["manifest"] == digest:
        return held["datasets"]
    embedder = load_embedders().ready[BLIND_EMBEDDER]
    found = {name: asdict(blind_dataset(d, o.data, embedder)) for name, d in manifest.datasets.items()}
    path.write_text(json.dumps({"manifest": digest, "datasets": found}, indent=1) + "\n")
    return found


def _finetune(o: argparse.Namespace) -> None:
    setting, manifest = _setting(o)
    jobs = train_jobs(setting, manifest)
    print(f"{len(jobs)} suspects to train")
    _execute(o, jobs, "picture")


def _score(o: argparse.Namespace) -> None:
    setting, manifest = _setting(o)
    jobs = score_jobs(setting, manifest, _ledger(o))
    print(f"{len(jobs)} units to score")
    _execute(o, jobs, "evaluation")


def _table(o: argparse.Namespace) -> None:
    setting, manifest = _setting(o)
    rows, missing = collect(setting, manifest, _ledger(o))
    if missing:
        raise UserError(f"{missing} answers are missing: run `score {o.experiment}` (it goes on where it stopped)")
    out = o.out or RESULTS.joinpath(*setting.experiment.name.split("-", 1))
    write_report(setting.experiment, _blind(o, setting.experiment, manifest), asdict(manifest), rows, out)
    print(f"written to {out}")


def _run(o: argparse.Namespace) -> None:
    manifest = _prepare(o)
    if o.dry_run:
        print(describe_cost(load_experiment(o.experiment), manifest))
        return
    for stage in (_finetune, _score, _table):
        stage(o)


def _setting(o: argparse.Namespace) -> tuple[Setting, Manifest]:
    experiment = load_experiment(o.experiment)
    path = _manifest_file(o, experiment)
    if not path.exists():
        raise UserError(f"{path} is not there: run `prepare {o.experiment}` first")
    manifest = load_manifest(path)
    return Setting(experiment, o.data.absolute(), o.work.absolute()), manifest


def _execute(o: argparse.Namespace, jobs: list[Any], unit: str) -> None:
    if o.engine == "ray":
        run_ray(jobs, _ledger(o), unit, o.address, o.workers)
    else:
        run_local(jobs, _ledger(o), o.workers, unit)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} was given; accepted: a whole number from 1")
    return int(text)


def _default_workers() -> int:
    """The cores; with a GPU one, since every worker takes one."""
    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _ledger(o: argparse.Namespace) -> Ledger:
    return Ledger(o.work.absolute() / "ledger.db")


def _manifest_file(o: argparse.Namespace, experiment: Experiment) -> Path:
    return o.work / experiment.name / "manifest.json"
