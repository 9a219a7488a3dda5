"""`python -m eval wild`: what a user is told of LoRAs as they are met, one deviation from the laboratory at a time.

Every row's suspects differ from the laboratory's: in how they were trained, in what their files note, or in what was
done to the files. Most differ in one thing; the docs name the others. A user who has no unused works asks about the
used works and about others of the artist; the first answer of the library counts. The table of null scores is the
shipped one, without the artist in question.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from textwrap import fill
from typing import Any

from pydantic import TypeAdapter

from cgidm.judging.verdict import LEVEL, STRICT_LEVEL, is_positive
from cgidm.training.split import PictureFile, rank_by_seed
from eval.benchmark.datasets import Manifest, prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Ledger, make_key
from eval.benchmark.plan import Suspect, plan_suspects
from eval.benchmark.stages import Setting, TrainJob
from eval.error_rates.mirror_rates import artist_of, share_by_artist
from eval.error_rates.trust import rounded, write_csv
from eval.error_rates.wild.rows import LABORATORY, WildRow, wild_rows
from eval.error_rates.wild.scores import MOST_OF_MIXTURE, MOST_PICTURES, WildAnswer, WildJob, WildScores
from eval.markdown import markdown_table
from eval.options import default_workers

ENOUGH = 0.8  # of the laboratory's power; what is told below it is listed


def run(o: argparse.Namespace) -> None:
    """Run the command: train and judge what is missing, then count."""
    rows: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for name in o.experiments:
        experiment = load_experiment(name)
        manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
        setting = Setting(experiment, o.data.absolute(), o.work.absolute())
        ledger, workers = Ledger(o.work.absolute() / "ledger.db"), o.workers or default_workers()
        jobs = plan_wild(setting, manifest, o.suspects)
        suspects = {s.name: s for _, of in jobs for job in of for s in (job.suspect, job.other)}
        run_local([TrainJob(setting, s) for s in suspects.values()], ledger, workers, "picture")
        run_local([j for _, of in jobs for j in of if not j.path.exists()], ledger, workers, "picture")
        for row, of in jobs:
            found = [TypeAdapter(WildScores).validate_json(job.path.read_text()) for job in of]
            label = row.name if len(jobs) > 1 else experiment.name
            answers += [_answer_row(row, s, a) for s in found for a in s.answers]
            rows.append({"suspects": label, "of": len(found), **count_answers(found)})
    report = rounded({"experiments": o.experiments, "of each": o.suspects, "rows": rows})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "wild.json").write_text(json.dumps(report, indent=1) + "\n")
    names = ("row", "artist", "distance", "member", "p_value", "framings")
    write_csv(o.out / "answers.csv", names, answers)
    (o.out / "wild.md").write_text(wild_text(report))
    print(wild_text(report), end="")


def _answer_row(row: WildRow, scores: WildScores, answer: WildAnswer) -> dict[str, Any]:
    """What `eval likelihood` reads of an answer; nothing of one that the mirror test did not give."""
    by_mirror = answer.reason.startswith("judging.mirror.") and answer.p_value is not None
    return {
        "row": row.name,
        "artist": answer.artist,
        "distance": scores.distance,
        "member": int(answer.member),
        "p_value": answer.p_value if by_mirror else None,
        "framings": 1 if row.framing == "square" or row.notes else 2,
    }


def plan_wild(setting: Setting, manifest: Manifest, suspects: int) -> list[tuple[WildRow, list[WildJob]]]:
    """The rows of an experiment with their jobs: each has the same artists, drawn by lot."""
    planned = [s for s in plan_suspects(setting.experiment, manifest) if s.half == 0]
    by_training: dict[str, list[Suspect]] = {}
    for s in sorted(planned, key=lambda s: make_key(draw="wild", concept=[s.dataset, s.concept])):
        by_training.setdefault(s.training, []).append(s)
    concepts = {(d, c.name): c for d, found in manifest.datasets.items() for c in found.concepts}
    rows = []
    for row in wild_rows(setting.experiment.trainings):
        chosen = by_training[row.training or LABORATORY][:suspects]
        others = by_training[LABORATORY][:suspects]
        followers = [*others[1:], *others[:1]]
        jobs = []
        for s, other in zip(chosen, followers, strict=True):
            halves = concepts[s.dataset, s.concept].halves
            jobs.append(WildJob(setting, s, row, _some(halves, s.concept), other))
        rows.append((row, jobs))
    return rows


def _some(halves: Sequence[Sequence[PictureFile]], concept: str) -> tuple[PictureFile, ...]:
    """As many pictures of each half as are judged, drawn by lot."""
    most = MOST_PICTURES if len({artist_of(p.file) for p in halves[0]}) == 1 else MOST_OF_MIXTURE
    drawn = [rank_by_seed(half, 0, "wild", concept)[: most // 2] for half in halves]
    return tuple(sorted((p for half in drawn for p in half), key=lambda p: p.file))


def count_answers(found: Sequence[WildScores]) -> dict[str, Any]:
    """Shares of positive answers at both levels, what is told of used works that are not found, and of sets."""
    answers = [a for s in found for a in s.answers]
    rates: dict[str, Any] = {}
    for level in (LEVEL, STRICT_LEVEL):
        for name, member, worst in (("false calls", False, max), ("power", True, min)):
            called = [(a.artist, _is_called(a, level)) for a in answers if a.member == member]
            rates[f"{name} at {level}"] = share_by_artist(called, worst)
    missed = Counter((a.outcome, a.reason) for a in answers if a.member and not is_positive(a.outcome))
    sets = [s.sets for s in found if s.sets is not None]
    return {
        "distance": fmean(s.distance for s in found),
        **rates,
        "missed": [[outcome, reason, n] for (outcome, reason), n in missed.most_common()],
        "sets": {name: sum(is_positive(s[i]) for s in sets) for i, name in enumerate(("used", "unused"))}
        | {"of": len(sets)},
    }


def _is_called(answer: WildAnswer, level: float) -> bool:
    return is_positive(answer.outcome) and answer.p_value is not None and answer.p_value <= level


def wild_text(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    command = f"python -m eval wild {' '.join(report['experiments'])} --suspects {report['of each']} --data DIR"
    text = (
        f"LoRAs that differ from the laboratory's, judged as by a user without unused works: `{command}`. "
        "Intervals: bootstrap over artists, 95 %."
    )
    return f"{text}\n\n{wild_table(report)}\n\n{missed_text(report)}\n"


def wild_table(report: Mapping[str, Any]) -> str:
    """A row for each kind of suspect; the docs show it, too."""
    columns = [
        "suspects",
        "number",
        "distance from base",
        "unused called at 5%",
        "used called at 5%",
        "used called at 1%",
    ]
    columns += ["sets of ten called: used, unused", "what is told of used works that are not found"]
    rows = [
        [
            r["suspects"],
            r["of"],
            f"{r['distance']:.3f}",
            _share(r[f"false calls at {LEVEL}"]),
            _share(r[f"power at {LEVEL}"]),
            f"{r[f'power at {STRICT_LEVEL}']['share']:.1%}",
            "" if not r["sets"]["of"] else f"{r['sets']['used']}, {r['sets']['unused']} of {r['sets']['of']}",
            ", ".join(f"{n} {outcome}" for outcome, n in _outcomes(r).items()) or "none missed",
        ]
        for r in report["rows"]
    ]
    return markdown_table(columns, rows)


def missed_text(report: Mapping[str, Any]) -> str:
    """The rows below `ENOUGH` of the laboratory's power, and whether any used work is called "no evidence"."""
    rows = report["rows"]
    name = f"power at {LEVEL}"
    laboratory = next((r for r in rows if r["suspects"] == LABORATORY), rows[0])
    weak = [r["suspects"] for r in rows if r[name]["share"] < ENOUGH * laboratory[name]["share"]]
    silent = sum(n for r in rows for outcome, n in _outcomes(r).items() if outcome == "no evidence")
    listed = ", ".join(weak) or "none"
    text = f'Below {ENOUGH:.0%} of the laboratory\'s power: {listed}. Used works that are called "no evidence", in all '
    return fill(f"{text}rows: {silent}.", 120, break_on_hyphens=False)


def _outcomes(row: Mapping[str, Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    for outcome, _, n in row["missed"]:
        found[outcome] += n
    return found


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({low:.1%} to {high:.1%})"
