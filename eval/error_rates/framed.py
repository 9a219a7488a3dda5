"""`python -m eval framed`: what it costs to look at other parts of a picture than the trainer did.

Most trainers of LoRAs put pictures into aspect-ratio buckets; others look at centre squares. Suspects of both kinds are
judged by the mirror test with the framing of their training, with the other one, and with both where none is known. All
are compared with the table that ships, without the works of the artist in question.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cgidm.framing.frame import Framing
from cgidm.framing.table import framing_of_table
from cgidm.judging.verdict import LEVEL, STRICT_LEVEL
from cgidm.pictures.images import read_picture
from eval.benchmark.datasets import Manifest, prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import Experiment, load_experiment
from eval.benchmark.ledger import Ledger, make_key
from eval.benchmark.plan import Suspect
from eval.benchmark.stages import Setting, train_jobs
from eval.error_rates.altered import rates_of, table_groups
from eval.error_rates.mirror_rates import MirrorDecision, decide
from eval.error_rates.mirror_scores import MirrorJob, mirror_jobs, read_mirror_scores
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import default_workers

SHAPES = ("upright", "wide", "square")  # of the bucket
FRAMED_AS = ("centre squares", "buckets", "not known: both")


def run(o: argparse.Namespace) -> None:
    """Run the command: train and score what is missing, then count."""
    experiments = [load_experiment(name) for name in o.experiments]
    tables = [how.framing for e in experiments for how in e.trainings.values() if how.framing is not None]
    buckets = framing_of_table(tables[0])
    rows: list[dict[str, Any]] = []
    for experiment in experiments:
        shapes, found = _judge(experiment, o, buckets)
        for training, how in ((name, how) for name, how in experiment.trainings.items() if name in o.trainings):
            for look, decisions in found.items():
                chosen = [d for d in decisions if d.training == training]
                trained = FRAMED_AS[0] if how.framing is None else FRAMED_AS[1]
                row = {"training": training, "trained on": trained, "looked at": look}
                rows.append({**row, "all": rates_of(chosen)} | _by_shape(chosen, shapes))
    chosen = {"trainings": o.trainings, "halves": o.halves, "artists": o.artists}
    report = rounded({"experiments": o.experiments, **chosen, "buckets": tables[0], "rows": rows})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "framed.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "framed.md").write_text(_text(report))
    print(_text(report), end="")


def _judge(
    experiment: Experiment, o: argparse.Namespace, buckets: Framing
) -> tuple[dict[str, str], dict[str, list[MirrorDecision]]]:
    """The shape of each picture's bucket, and the decisions of each look."""
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    workers = o.workers or default_workers()

    artists = draw_artists(manifest, o.artists)

    def is_chosen(suspect: Suspect) -> bool:
        drawn = (suspect.dataset, suspect.concept) in artists
        return drawn and suspect.training in o.trainings and suspect.half < o.halves

    run_local([j for j in train_jobs(setting, manifest) if is_chosen(j.suspect)], ledger, workers, "picture")
    jobs = [j for j in mirror_jobs(setting, manifest) if is_chosen(j.suspect)]
    groups = table_groups(setting.base_weights)

    def decisions(looked: Sequence[MirrorJob]) -> list[MirrorDecision]:
        run_local([j for j in looked if not j.path.exists()], ledger, workers, "picture")
        return decide(read_mirror_scores(looked), groups)

    framed, squares = decisions([j.framed(buckets) for j in jobs]), decisions([j.framed(None) for j in jobs])
    names = sorted({d.file for d in squares})
    shapes = {name: _shape(read_picture(setting.data / name, buckets).frame.size) for name in names}  # type: ignore[union-attr]
    both = [either(a, b, shapes[a.file]) for a, b in zip(framed, squares, strict=True)]
    return shapes, dict(zip(FRAMED_AS, (squares, framed, both), strict=True))


def draw_artists(manifest: Manifest, count: int | None) -> set[tuple[str, str]]:
    """So many of the manifest's artists, by lot; None: all of them."""
    every = [(d, c.name) for d, found in manifest.datasets.items() for c in found.concepts]
    return set(sorted(every, key=lambda name: make_key(draw="framed", concept=list(name)))[:count])


def either(framed: MirrorDecision, square: MirrorDecision, shape: str) -> MirrorDecision:
    """Judge by both framings: the smaller of two p-values counts twice (Bonferroni); a square has one framing."""
    if shape == "square":
        return framed
    p = min(1.0, 2 * min(framed.p_value, square.p_value))
    return MirrorDecision(**{**vars(framed), "p_value": p, "score": max(framed.score, square.score)})


def _shape(size: tuple[int, int]) -> str:
    width, height = size
    return SHAPES[2] if width == height else SHAPES[0] if width < height else SHAPES[1]


def _by_shape(decisions: Sequence[MirrorDecision], shapes: Mapping[str, str]) -> dict[str, Any]:
    return {shape: rates_of([d for d in decisions if shapes[d.file] == shape]) for shape in SHAPES}


def _text(report: Mapping[str, Any]) -> str:
    parts = [
        "# Framing",
        f"`python -m eval framed {' '.join(report['experiments'])} --trainings {' '.join(report['trainings'])} "
        f"--halves {report['halves']}{_artists(report)} --data DIR`",
        "Each picture is judged by the mirror test against the null scores of other artists. Intervals: bootstrap over "
        "artists, 95 %.",
        framed_table(report),
    ]
    return "\n\n".join(parts) + "\n"


def _artists(report: Mapping[str, Any]) -> str:
    return f" --artists {report['artists']}" if report.get("artists") else ""


def framed_table(report: Mapping[str, Any]) -> str:
    """A row for each training, framing and look; the docs show it, too."""
    levels = [f"{name} at {level:.0%}" for level in (LEVEL, STRICT_LEVEL) for name in ("false calls", "power")]
    columns = [
        "training",
        "trained on",
        "looked at",
        *levels,
        "at 5%, upright: used called, unused called",
        "wide",
        "square",
    ]
    rows = [
        [
            *(row["training"], row["trained on"], row["looked at"]),
            *(_share(value) for value in row["all"].values()),
            *(
                ", ".join(_plain(row[shape][f"{name} at {LEVEL}"]) for name in ("power", "false calls"))
                for shape in SHAPES
            ),
        ]
        for row in report["rows"]
    ]
    return markdown_table(columns, rows)


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({low:.1%} to {high:.1%})"


def _plain(found: Mapping[str, Any] | None) -> str:
    return "none" if found is None else f"{found['share']:.1%} of {found['of']}"
