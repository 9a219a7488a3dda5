"""`python -m eval altered`: is a LoRA that its maker has altered still recognised?

Whoever fears the question can publish the file with its change scaled, or with noise on its factors. Every altered
suspect is judged by the mirror test against the table that ships, without the works of the artist in question.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cgidm.errors import UserError
from cgidm.judging.mirror_test import TABLE, MirrorTable, NullGroup
from cgidm.judging.tables.files import read_tables
from cgidm.judging.verdict import LEVEL, STRICT_LEVEL
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Ledger, make_key
from eval.benchmark.stages import Setting, train_jobs
from eval.error_rates.alteration import UNALTERED, Alteration
from eval.error_rates.mirror_rates import MirrorDecision, decide, share_by_artist
from eval.error_rates.mirror_scores import mirror_jobs, read_mirror_scores
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import default_workers

SCALES = (0.5, 0.7, 1.4, 2.0)
NOISE = 0.25
ALTERATIONS = (UNALTERED, *(Alteration(scale=s) for s in SCALES), Alteration(noise=NOISE))


def run(o: argparse.Namespace) -> None:
    """Run the command: train and score what is missing, then count."""
    experiment = load_experiment(o.experiment)
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    workers = o.workers or default_workers()
    adapters = [name for name, how in experiment.trainings.items() if how.mode == "lora"]
    run_local([j for j in train_jobs(setting, manifest) if j.suspect.training in adapters], ledger, workers, "picture")
    jobs = [j for j in mirror_jobs(setting, manifest) if j.suspect.training in adapters and j.suspect.half == 0]
    jobs = sorted(jobs, key=lambda j: make_key(draw="altered", suspect=j.suspect.name))[: o.suspects]
    groups = table_groups(setting.base_weights)
    rows, untouched = [], {}
    for alteration in ALTERATIONS:
        altered = [j.altered(alteration) for j in jobs]
        run_local([j for j in altered if not j.path.exists()], ledger, workers, "picture")
        decisions = decide(read_mirror_scores(altered), groups)
        untouched = untouched or {_key(d): d for d in decisions}
        rows.append({"altered": alteration.name, "suspects": len(altered), **compare(decisions, untouched)})
    report = rounded({"experiment": experiment.name, "rows": rows})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "altered.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "altered.md").write_text(altered_table(report))
    print(altered_table(report), end="")


def compare(decisions: Sequence[MirrorDecision], untouched: Mapping[tuple[str, str], MirrorDecision]) -> dict[str, Any]:
    """Count the members that are answered as under the untouched file, of those that it finds, and the false calls."""
    members = [d for d in decisions if d.member and untouched[_key(d)].p_value <= LEVEL]
    same = [(d.artist, _answer(d) == _answer(untouched[_key(d)])) for d in members]
    return {"as before": share_by_artist(same, min), **rates_of(decisions)}


def rates_of(decisions: Sequence[MirrorDecision]) -> dict[str, Any]:
    """Count the false calls and the power at both levels."""
    rates: dict[str, Any] = {}
    for level in (LEVEL, STRICT_LEVEL):
        for name, member, worst in (("false calls", 0, max), ("power", 1, min)):
            called = [(d.artist, d.p_value <= level) for d in decisions if d.member == member]
            rates[f"{name} at {level}"] = share_by_artist(called, worst)
    return rates


def altered_table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    name, suspects = report["experiment"], report["rows"][0]["suspects"]
    text = (
        f"LoRAs of `{name}` whose files were altered, judged by the mirror test, `python -m eval altered {name} "
        f"--suspects {suspects} --data DIR`. Intervals: bootstrap over artists, 95 %."
    )
    return f"{text}\n\n{rates_table(report)}\n"


def rates_table(report: Mapping[str, Any]) -> str:
    """A row for each alteration; the docs show it, too."""
    columns = ["altered", "suspects", "members answered as before"]
    columns += [f"{name} at {level:.0%}" for level in (LEVEL, STRICT_LEVEL) for name in ("false calls", "power")]
    rows = [
        [r["altered"], r["suspects"], *(_share(v) for v in r.values() if isinstance(v, dict))] for r in report["rows"]
    ]
    return markdown_table(columns, rows)


def table_groups(base: Sequence[str]) -> Sequence[NullGroup]:
    """The null scores that ship for a base.

    Raises:
        UserError: if there are none.
    """
    for table in read_tables(MirrorTable, TABLE, "judging.damaged_mirror_table", None):
        if set(table.base) <= set(base):
            return table.groups
    raise UserError("error_rates.no_shipped_table", file=TABLE)


def _key(decision: MirrorDecision) -> tuple[str, str]:
    return decision.suspect, decision.file


def _answer(decision: MirrorDecision) -> int:
    """0: consistent with training. 1: weak evidence. 2: neither."""
    return (decision.p_value > STRICT_LEVEL) + (decision.p_value > LEVEL)


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
