"""`python -m eval rates` and `power`: error rates and power of verdicts, measured on trained suspects.

Both train and score what is missing, then write their tables. To resume, run the same command again.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cgidm.errors import UserError
from cgidm.judging.tables.files import read_tables
from cgidm.judging.tables.power import PowerTable
from cgidm.judging.verdict import LEVEL
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import Experiment, load_experiment
from eval.benchmark.ledger import Ledger
from eval.benchmark.stages import Setting, train_jobs
from eval.error_rates.power.measured import count_outcomes, measure_power
from eval.error_rates.rates import Decision, decide, portfolios, summarise, summarise_portfolios
from eval.error_rates.scoring import SuspectJob, SuspectScores, read_scores, suspect_jobs
from eval.error_rates.trust_text import power_text, rates_text
from eval.options import RESULTS, default_workers

DIGITS = 4  # after the point, of every number that is written


def score_all(name: str, o: argparse.Namespace, other_artists: bool) -> tuple[Experiment, list[SuspectScores]]:
    """Prepare, train and score what is missing of an experiment.

    Args:
        name: name of a preset, or a .json file.
        o: the command's options: data, work, workers.
        other_artists: also score one picture of each other artist.

    Returns:
        The experiment and the scores of all its suspects.
    """
    experiment = load_experiment(name)
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    workers = o.workers or default_workers()
    run_local(train_jobs(setting, manifest), ledger, workers, "picture")
    first = [d for i, d in enumerate(experiment.datasets) if _is_first(experiment, i)] if other_artists else []
    jobs: list[SuspectJob] = suspect_jobs(setting, manifest, first)
    run_local([job for job in jobs if not job.path.exists()], ledger, workers, "picture")
    return experiment, read_scores(jobs)


def _is_first(experiment: Experiment, index: int) -> bool:
    """Whether it is the first split of its folder."""
    folders = [d.folder for d in experiment.datasets.values()]
    return folders.index(folders[index]) == index


def run_rates(o: argparse.Namespace) -> None:
    """Write false positives, uniformity, power and portfolios."""
    experiment, scored = score_all(o.experiment, o, other_artists=True)
    decisions, sets = decide(scored, experiment), list(portfolios(scored, experiment))
    report = {
        "experiment": experiment.name,
        "pictures": {
            t: summarise([d for d in decisions if d.training == t])
            for t in dict.fromkeys(d.training for d in decisions)
        },
        "portfolios": summarise_portfolios(sets),
    }
    out = o.out or RESULTS.joinpath(*experiment.name.split("-", 1))
    out.mkdir(parents=True, exist_ok=True)
    report = rounded(report)
    (out / "rates.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "rates.md").write_text(rates_text(report))
    write_csv(out / "decisions.csv", [f.name for f in fields(Decision)], [asdict(d) for d in decisions])
    write_csv(out / "portfolios.csv", list(sets[0]) if sets else [], sets)
    print((out / "rates.md").read_text())


def run_power(o: argparse.Namespace) -> None:
    """Write power against steps, rank and pictures: the table that verdicts look up."""
    measured = [(experiment, measure_power(experiment, scored)) for experiment, scored in _score_each(o)]
    bases = {tuple(sorted(Setting(experiment, o.data, o.work).base_weights)) for experiment, _ in measured}
    if len(bases) > 1:
        raise UserError("error_rates.many_bases", given=len(bases))
    rows = [row for _, of_one in measured for row in of_one]
    base = bases.pop()
    known = read_tables(PowerTable, o.out.name, "judging.damaged_power_table", o.out.parent)
    curves = next((t.curves for t in known if t.base == base), ())  # of `eval silence`
    table = PowerTable(base=base, level=LEVEL, rows=tuple(rows), curves=curves)
    o.out.write_text(json.dumps([rounded(table.model_dump())], indent=1) + "\n")
    outcomes = count_outcomes(*score_all(o.held_out, o, other_artists=False), table) if o.held_out else []
    o.report.parent.mkdir(parents=True, exist_ok=True)
    o.report.write_text(power_text(table, outcomes, [e.name for e, _ in measured], o.held_out))
    print(o.report.read_text())


def _score_each(o: argparse.Namespace) -> list[tuple[Experiment, list[SuspectScores]]]:
    return [score_all(name, o, other_artists=False) for name in o.experiments]


def write_csv(path: Path, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows under their names, numbers rounded."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rounded(list(rows)))


def rounded(value: Any) -> Any:
    """Round every number of plain data to `DIGITS`."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list | tuple) else value
