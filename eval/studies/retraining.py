"""`python -m eval retraining`: how far a null model that is trained again is from the one that a bank states.

The first model of each shipped bank is trained again, on other threads and other instructions, each in a process of its
own. The tolerance of `cgidm.training.retraining` rests on what comes out.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cgidm.judging.banks.null_bank import open_bank
from cgidm.run.provenance import name_processor
from cgidm.training.retraining import MIRROR_TOLERANCE, SCORE_TOLERANCE, find_pictures, retrain
from eval.markdown import markdown_table

from .reruns import RerunEnvironment, start_process

MODEL = 0  # of each bank
ENVIRONMENTS = (
    RerunEnvironment("one thread", threads=1),
    RerunEnvironment("two threads", threads=2),
    RerunEnvironment("one thread, no more than AVX2", 1, torch="avx2", convolutions="AVX2", products="AVX2"),
)


def measure_retraining(assets: Path, out: Path) -> dict[str, Any]:
    """Train again, and write `retraining.json` and `retraining.md`."""
    rows = []
    banks = sorted(p.parent for p in (assets / "banks").glob("*/bank.json"))
    for bank in banks:
        for environment in ENVIRONMENTS:
            if environment.variables() and bank != banks[0]:
                continue  # other instructions cost minutes: of the whole network alone, where most is trained
            with start_process(environment.variables()) as process:
                found = process.submit(_retrain, assets, bank, environment.threads).result()
            rows.append({"bank": bank.name, "elsewhere": environment.name, **found})
            print(json.dumps(rows[-1]), flush=True)
    report = {
        "tolerance": SCORE_TOLERANCE,
        "mirror tolerance": MIRROR_TOLERANCE,
        "processor": name_processor(),
        "rows": rows,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "retraining.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "retraining.md").write_text(retraining_table(report))
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(retraining_table(measure_retraining(options.assets, options.out)), end="")


def retraining_table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    text = (
        "Largest difference of a score between the first model of a shipped bank and the same trained again, "
        f"`python -m eval retraining`; {report['processor']}. Up to {report['tolerance']:g} is accepted, of the mirror "
        f"test up to {report['mirror tolerance']:g}."
    )
    rows = [
        [
            f"`{r['bank']}`",
            r["elsewhere"],
            f"{r['scores']:.1e}",
            f"{r['mirror scores']:.1e}",
            "yes" if r["weights_are_equal"] else "no",
            "yes" if r["accepted"] else "NO",
        ]
        for r in report["rows"]
    ]
    columns = ("bank", "trained again with", "scores", "of the mirror test", "same weights", "accepted")
    return f"{text}\n\n{markdown_table(columns, rows)}\n"


def _retrain(assets: Path, folder: Path, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    bank, works = open_bank(folder), assets / "examples" / folder.name
    pictures = find_pictures(bank, [MODEL], [works / "member", works / "holdout"])
    with TemporaryDirectory() as work:
        found = retrain(bank, MODEL, str(assets / "mini"), pictures, Path(work))
    return {
        "scores": found.largest_difference,
        "mirror scores": found.largest_mirror_difference,
        "weights_are_equal": found.weights_are_equal,
        "accepted": found.agrees,
    }
