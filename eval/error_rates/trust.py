"""`python -m eval rates` and `power`: what a verdict's error rates and its power are, measured on trained suspects.

Both train and ask what is missing, then write their tables. To resume, run the same command again.
"""

import argparse
import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cgidm.errors import UserError
from cgidm.judging.power import TABLE, Detectability
from cgidm.judging.verdict import LEVEL
from cgidm.resources import resource_root
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import Experiment, load_experiment
from eval.benchmark.ledger import Ledger
from eval.benchmark.stages import Setting, train_jobs
from eval.error_rates.power import count_outcomes, measure_power
from eval.error_rates.rates import Decision, decide, portfolios, summarise, summarise_portfolios
from eval.error_rates.scoring import Asked, AskJob, ask_jobs, read_asked
from eval.error_rates.trust_text import power_text, rates_text

DIGITS = 4  # after the point, of every number that is written
RESULTS = Path("eval/results")
Register = Callable[..., argparse.ArgumentParser]


def ask_all(name: str, o: argparse.Namespace, strangers: bool) -> tuple[Experiment, list[Asked]]:
    """Prepare, train and ask whatever of the experiment is missing; all its answers."""
    experiment = load_experiment(name)
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    run_local(train_jobs(setting, manifest), ledger, o.workers, "picture")
    first = [d for i, d in enumerate(experiment.datasets) if _is_first(experiment, i)] if strangers else []
    jobs: list[AskJob] = ask_jobs(setting, manifest, first)
    run_local([job for job in jobs if not job.path.exists()], ledger, o.workers, "picture")
    return experiment, read_asked(jobs)


def _is_first(experiment: Experiment, index: int) -> bool:
    """Whether it is the first split of its folder."""
    folders = [d.folder for d in experiment.datasets.values()]
    return folders.index(folders[index]) == index


def run_rates(o: argparse.Namespace) -> None:
    """False positives, uniformity, power, and portfolios."""
    experiment, asked = ask_all(o.experiment, o, strangers=True)
    decisions, sets = decide(asked, experiment), list(portfolios(asked, experiment))
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
    report = _rounded(report)
    (out / "rates.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "rates.md").write_text(rates_text(report))
    _write_csv(out / "decisions.csv", [f.name for f in fields(Decision)], [asdict(d) for d in decisions])
    _write_csv(out / "portfolios.csv", list(sets[0]) if sets else [], sets)
    print((out / "rates.md").read_text())


def run_power(o: argparse.Namespace) -> None:
    """Power against steps, rank and pictures; the table that verdicts look up."""
    measured = [(experiment, measure_power(experiment, asked)) for experiment, asked in _all_asked(o)]
    bases = {tuple(sorted(Setting(experiment, o.data, o.work).base_weights)) for experiment, _ in measured}
    if len(bases) > 1:
        raise UserError(f"the experiments have {len(bases)} bases; accepted: experiments of one")
    rows = [row for _, of_one in measured for row in of_one]
    table = Detectability(base=bases.pop(), level=LEVEL, rows=tuple(rows))
    o.out.write_text(json.dumps([_rounded(table.model_dump())], indent=1) + "\n")
    outcomes = count_outcomes(*ask_all(o.held_out, o, strangers=False), table) if o.held_out else []
    o.report.parent.mkdir(parents=True, exist_ok=True)
    o.report.write_text(power_text(table, outcomes, [e.name for e, _ in measured], o.held_out))
    print(o.report.read_text())


def _all_asked(o: argparse.Namespace) -> list[tuple[Experiment, list[Asked]]]:
    return [ask_all(name, o, strangers=False) for name in o.experiments]


def register(command: Register) -> None:
    """Enter the commands."""
    rates = command("rates", run_rates, "error rates of verdicts from null models; resumes")
    rates.add_argument("experiment", help="a preset's name (eval/presets), or a .json file")
    rates.add_argument("--out", type=Path, help="folder of the tables; default below eval/results")
    power = command("power", run_power, "power against steps, rank, pictures; writes what verdicts look up; resumes")
    power.add_argument("experiments", nargs="+", help="presets' names, or .json files, of one base")
    power.add_argument("--held-out", help="an experiment of other makers, whose outcomes are counted with the table")
    power.add_argument("--out", type=Path, default=resource_root() / TABLE, help="the table")
    power.add_argument("--report", type=Path, default=RESULTS / "mini" / "power.md", help="the same as a page")
    for parser in (rates, power):
        parser.add_argument("--data", type=Path, default=Path("data"), help="folder with the datasets' folders")
        parser.add_argument("--work", type=Path, default=Path("runs"), help="manifests, suspects and answers")
        parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, one thread each")


def _write_csv(path: Path, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rounded(list(rows)))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value
