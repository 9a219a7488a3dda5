"""`paper` beside `reference` in several processes: batches of one take longer in some than in others."""

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from cgidm.errors import UserError
from eval.speed.machine import describe_machine, describe_software
from eval.speed.paired import Contender, measure_paired
from eval.speed.subjects import PairKind, find_subject
from eval.speed.tables import PAIR_NAMES, device_stem, make_table, place_and_versions

FOLDER = "repeats"  # below that of the other results


@dataclass(frozen=True)
class Run:
    """What is measured once."""

    models: tuple[str, ...]
    kinds: tuple[PairKind, ...]
    device: torch.device
    dtypes: tuple[torch.dtype, ...]
    pictures: tuple[int, ...]
    seconds: float  # of all together, once everything is loaded
    assets: Path

    def rows(self) -> Iterator[dict[str, Any]]:
        """Measure, and yield one row for each model, kind and number of pictures."""
        places: list[tuple[str, PairKind, int]] = list(product(self.models, self.kinds, self.pictures))
        for model, kind, pictures in places:
            arm = Contender(model, kind, self.device, self.dtypes[0], self.assets)
            yield from measure_paired(arm, self.dtypes, pictures, self.seconds / len(places))


def repeat_runs(run: Run, runs: int, out: Path, tell: Callable[[str], None]) -> Path:
    """Measure so many times, each time in new processes, and write what came out of all of them.

    Raises:
        UserError: for a model that is not known, and if a process ends early.
    """
    for name in run.models:
        if find_subject(name, run.assets).is_flow:
            raise UserError("speed.no_reference", given=name)
    found: list[list[dict[str, Any]]] = []
    for i in range(runs):
        try:
            found.append(list(run.rows()))
        except BrokenProcessPool as error:
            raise UserError("speed.run_ended", run=i + 1, runs=runs) from error
        times = (row["times_reference"] for row in found[-1])
        tell(f"run {i + 1} of {runs}: {', '.join(f'{t:.2f}' for t in times)}")
    summary = {
        "machine": describe_machine(run.device),
        **describe_software(),
        "seconds": run.seconds,
        "rows": summarise_runs(found),
    }
    stem = out / FOLDER / device_stem(summary["machine"])
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
    stem.with_suffix(".md").write_text(runs_markdown(summary))
    return stem


def summarise_runs(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of every model, pair, precision and number of pictures: what each run measured."""
    rows = []
    for same in zip(*runs, strict=True):
        measured = ("rounds", "reference_seconds", "paper_seconds", "times_reference")
        common = {k: v for k, v in same[0].items() if k not in measured}
        rows.append(common | {k: [row[k] for row in same] for k in measured})
    return rows


def runs_markdown(summary: dict[str, Any]) -> str:
    """What was run, where, and every figure."""
    title = "# `paper` beside `reference`, in turns"
    return "\n\n".join((title, f"{place_and_versions(summary)}.", runs_section(summary))) + "\n"


def runs_section(summary: dict[str, Any]) -> str:
    """The table, and what it says; for the README too."""
    lines = [
        [
            f"{r['model']}, {PAIR_NAMES[r['pair']]}",
            str(r["pictures"]),
            r["dtype"],
            _milliseconds(r["reference_seconds"]),
            _milliseconds(r["paper_seconds"]),
            ", ".join(f"{t:.1f}" for t in sorted(r["times_reference"])),
            f"{statistics.median(r['times_reference']):.1f}",
        ]
        for r in summary["rows"]
    ]
    heads = ["suspect", "pictures at once", "`paper` in", "`reference`, an evaluation", "`paper`, an evaluation"]
    table = make_table([*heads, "times `reference`", "median"], lines)
    runs = _runs(summary)
    said = (
        f"{runs} times (`python -m eval bench --runs {runs} --budget {summary['seconds']:g}`) `reference` and `paper` "
        "took turns, each in a new process: medians of each time, and how many times as many pictures an hour `paper` "
        "judged."
    )
    return f"{said}\n\n{table}"


def _runs(summary: dict[str, Any]) -> int:
    return max((len(r["times_reference"]) for r in summary["rows"]), default=0)


def _milliseconds(seconds: Sequence[float]) -> str:
    return f"{', '.join(f'{1000 * s:.3g}' for s in seconds)} ms"
