"""`python -m eval mirror`: error rates and power of the mirror test, and the table of null scores that verdicts use.

Trains and scores what is missing, then writes the tables. To resume, run the same command again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cgidm.errors import UserError
from cgidm.files import write_atomically
from cgidm.judging.mirror_test import MirrorTable, NullGroup
from cgidm.judging.tables.files import read_tables
from cgidm.method.config import RunConfig
from cgidm.resources import reference_files
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import Experiment, load_experiment
from eval.benchmark.ledger import Ledger
from eval.benchmark.stages import Setting, train_jobs
from eval.error_rates.mirror_rates import MirrorDecision, decide, decide_sets, null_groups, summarise
from eval.error_rates.mirror_scores import MirrorScores, mirror_jobs, read_mirror_scores
from eval.error_rates.trust import rounded, write_csv
from eval.markdown import markdown_table
from eval.options import default_workers


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    scored = {name: _score(load_experiment(name), o, i == 0) for i, name in enumerate(o.experiments)}
    groups = null_groups([s for name, found in scored.items() if name not in o.unused for s in found])
    if o.nulls is not None:
        groups = _read_groups(o.nulls, load_experiment(o.experiments[0]), o)
    if not groups:
        raise UserError("error_rates.no_table", unused=", ".join(o.unused))
    rows, decisions = [], []
    for name, found in scored.items():
        joined = [d for d, settings in load_experiment(name).datasets.items() if settings.joined is not None]
        for dataset, training in dict.fromkeys((s.dataset if s.dataset in joined else "", s.training) for s in found):
            some = [s for s in found if s.training == training and dataset in ("", s.dataset)]
            judged = decide(some, groups)
            decisions += judged
            label = {"experiment": name, "training": training, "dataset": dataset}
            rows.append(label | summarise(judged, list(decide_sets(some, groups))))
    o.out.mkdir(parents=True, exist_ok=True)
    report = rounded({"table": [g.artist for g in groups], "rows": rows})
    (o.out / "mirror.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "mirror.md").write_text(_text(report["rows"], o))
    write_csv(o.out / "decisions.csv", [f.name for f in fields(MirrorDecision)], [asdict(d) for d in decisions])
    if o.table is not None:
        first = load_experiment(o.experiments[0])
        base = tuple(sorted(Setting(first, o.data, o.work).base_weights))
        table = MirrorTable(base=base, draws=RunConfig().mirror_draws, groups=tuple(groups))
        tables = read_tables(MirrorTable, o.table.name, "judging.damaged_mirror_table", o.table.parent)
        others = [t.model_dump() for t in tables if t.base != base]  # the file holds one table for each base
        write_atomically(o.table, json.dumps([rounded(table.model_dump()), *others]) + "\n")
    print((o.out / "mirror.md").read_text())


def _read_groups(path: Path, experiment: Experiment, o: argparse.Namespace) -> list[NullGroup]:
    """The null scores of a table that is there, for the experiment's base."""
    base = tuple(sorted(Setting(experiment, o.data, o.work).base_weights))
    tables = read_tables(MirrorTable, path.name, "judging.damaged_mirror_table", path.parent)
    return [g for t in tables if t.base == base for g in t.groups]


def _score(experiment: Experiment, o: argparse.Namespace, reference: bool) -> list[MirrorScores]:
    """Train and score what is missing; the first experiment's suspects are also scored on reference pictures."""
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    workers = o.workers or default_workers()
    run_local(train_jobs(setting, manifest), ledger, workers, "picture")
    jobs = mirror_jobs(setting, manifest, reference_files(), o.reference if reference else 0)
    run_local([job for job in jobs if not job.path.exists()], ledger, workers, "picture")
    return read_mirror_scores(jobs)


def _text(rows: Sequence[Mapping[str, Any]], o: argparse.Namespace) -> str:
    unused = f" --unused {' '.join(o.unused)}" if o.unused else ""
    unused += f" --nulls assets/{o.nulls.name}" if o.nulls else ""
    columns = ["experiment", "training", "artists", "suspects", "AUC", "level", "false calls", "power"]
    parts = [
        "# The mirror test",
        f"`python -m eval mirror {' '.join(o.experiments)}{unused} --reference {o.reference} --data DIR`",
        "Each picture is judged against the null scores of other artists. Intervals: bootstrap over artists, 95 %.",
    ]
    for name in ("pictures", "sets of ten", "pictures, against reference pictures"):
        table = [
            [
                *(row["experiment"], row["dataset"] or row["training"], row["artists"], row["suspects"]),
                f"{row['AUC']:.4f}",
                f"{rate['level']:.0%}",
                _share(rate["false calls"], row),
                _share(rate["power"], row),
            ]
            for row in rows
            for rate in row[name]
        ]
        parts += [f"## {name[0].upper()}{name[1:]}", markdown_table(columns, table, spaced=True)]
    return "\n\n".join(parts) + "\n"


def _share(found: Mapping[str, Any] | None, row: Mapping[str, Any]) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    text = f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
    worst = f"; worst artist {found['worst artist'][0]:.0%}" if row["artists"] > 1 else ""
    return text + worst
