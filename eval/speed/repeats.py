"""The same measurement in several processes: batches of one take one of two times, from process to process."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cgidm.errors import UserError
from eval.speed.tables import PAIR_NAMES, describe, file_stem, make_table

ARMS = ("reference", "paper")  # what is compared
FOLDER = "repeats"  # below that of the other results


def repeat_bench(arguments: Sequence[str], runs: int, out: Path, tell: Callable[[str], None]) -> Path:
    """Run `python -m eval.speed` so many times, with `arguments`, and write what came out of all of them.

    Raises:
        UserError: if a run fails, with the last line that it printed.
    """
    reports = []
    for run in range(runs):
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "eval.speed", *arguments, "--arms", ",".join(ARMS), "--out", folder]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
                raise UserError(f"run {run + 1} of {runs} failed: {' '.join(said)}")
            (path,) = Path(folder).glob("*.json")
            reports.append(json.loads(path.read_text()))
        tell(f"run {run + 1} of {runs}: {', '.join(f'{t:.2f}' for t in _column(reports[-1:], 'times_reference'))}")
    summary = summarise_runs(reports, arguments)
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / file_stem(reports[0])
    stem.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
    stem.with_suffix(".md").write_text(runs_markdown(summary))
    return stem


def summarise_runs(reports: Sequence[dict[str, Any]], arguments: Sequence[str]) -> dict[str, Any]:
    """Of every model, pair and number of pictures: each run's times, and how often the reference's rate ours is."""
    first, rows = reports[0], []
    for row in (r for r in first["rows"] if r["arm"] == "paper" and not r["checkpointing"]):
        same = [_find(report, row, "paper", row["pictures"]) for report in reports]
        reference = [_find(report, row, "reference", 1) for report in reports]
        if any(r is None or r.get("times_reference") is None for r in (*same, *reference)):
            continue  # out of time or memory in one of the runs
        rows.append(
            {
                "model": row["model"],
                "pair": row["pair"],
                "pictures": row["pictures"],
                "reference_seconds": [r["seconds_per_evaluation"] for r in reference],
                "paper_seconds": [r["seconds_per_evaluation"] for r in same],
                "times_reference": [r["times_reference"] for r in same],
            }
        )
    kept = ("machine", "versions", "commit", "files_changed_since", "date", "dtype", "quick", "matrix_peak_flops")
    return {"arguments": list(arguments), **{k: first[k] for k in kept}, "rows": rows}


def _find(report: dict[str, Any], like: dict[str, Any], arm: str, pictures: int) -> Any:
    for r in report["rows"]:
        if (r["model"], r["pair"], r["arm"], r["pictures"]) == (like["model"], like["pair"], arm, pictures):
            if not r["checkpointing"]:
                return r
    return None


def _column(reports: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [t for row in summarise_runs(reports, ())["rows"] for t in row[name]]


def runs_markdown(summary: dict[str, Any]) -> str:
    """What was run, where, and every figure."""
    runs = max((len(r["times_reference"]) for r in summary["rows"]), default=0)
    command = " ".join(("python -m eval bench", *summary["arguments"], "--runs", str(runs)))
    lines = [
        [
            f"{r['model']}, {PAIR_NAMES[r['pair']]}",
            str(r["pictures"]),
            _milliseconds(r["reference_seconds"]),
            _milliseconds(r["paper_seconds"]),
            f"{', '.join(f'{t:.1f}' for t in sorted(r['times_reference']))}; "
            f"median {statistics.median(r['times_reference']):.1f}",
        ]
        for r in summary["rows"]
    ]
    heads = ["suspect", "pictures at once", "`reference`, an evaluation", "`paper`, an evaluation", "times `reference`"]
    title = f"# {runs} runs of the same measurement, each in a process of its own"
    return "\n\n".join((title, f"`{command}`", describe(summary), make_table(heads, lines))) + "\n"


def runs_sentence(summary: dict[str, Any]) -> str:
    """The same in a sentence of the README."""
    said, runs = [], max((len(r["times_reference"]) for r in summary["rows"]), default=0)
    for r in summary["rows"]:
        times, who = r["times_reference"], f"a {PAIR_NAMES[r['pair']]} suspect and {r['pictures']} pictures at once"
        spread = f"{min(times):.1f} to {max(times):.1f} times"
        said.append(
            f"{spread} as many pictures an hour as `reference` with {who} (median {statistics.median(times):.1f})"
        )
    return f"In {runs} runs in {summary['dtype']} `paper` judged {'; '.join(said)}."


def _milliseconds(seconds: Sequence[float]) -> str:
    return f"{', '.join(f'{1000 * s:.3g}' for s in seconds)} ms"
