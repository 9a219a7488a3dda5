"""`python -m eval reruns`: how far a repeated run is from the recorded one, on other threads and other instructions.

Pictures of the shipped suspects are judged and sealed by the command line, as a user does it, and their bundles are
rerun as `verify --rerun` does: each in a process of its own, because a process chooses its instructions at its start.
The tolerances of `cgidm.evidence.reruns.rerun_diff` rest on what comes out.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cgidm.cli import build_parser
from cgidm.errors import UserError
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.record_json import to_json
from cgidm.evidence.reruns.rerun import RerunOptions, repeat
from cgidm.evidence.reruns.rerun_diff import Comparison
from cgidm.evidence.seal import bundle_record
from cgidm.pictures.embedders import SOURCES
from cgidm.pictures.folders import picture_files
from eval.markdown import markdown_table

Run = tuple[str, str]  # preset and precision
FAST, HALF, PAPER = RUNS = (("fast", "float32"), ("fast", "bfloat16"), ("paper", "float32"))
THREADS = 2  # of the recorded runs
OF_EACH = 2  # members, and holdouts, of a suspect


@dataclass(frozen=True)
class RerunEnvironment:
    """What differs from the environment that a run was recorded in."""

    name: str
    threads: int = THREADS
    torch: str | None = None  # the widest instructions that each library may use; None: all that there are
    convolutions: str | None = None
    products: str | None = None
    of: tuple[Run, ...] = RUNS  # the recorded runs that are repeated so: the others would take long

    def variables(self) -> dict[str, str]:
        """Return the environment variables that limit torch, oneDNN and MKL."""
        limits = {
            "ATEN_CPU_CAPABILITY": self.torch,
            "ONEDNN_MAX_CPU_ISA": self.convolutions,
            "MKL_ENABLE_INSTRUCTIONS": self.products,
        }
        return {name: value for name, value in limits.items() if value is not None}


ENVIRONMENTS = (
    RerunEnvironment("the same again"),
    RerunEnvironment("one thread instead of two", threads=1),
    RerunEnvironment("no more than AVX2", torch="avx2", convolutions="AVX2", products="AVX2", of=(FAST,)),
    RerunEnvironment("no more than SSE4", torch="default", convolutions="SSE41", products="SSE4_2", of=(FAST,)),
    RerunEnvironment("no instructions for bfloat16", torch="avx2", convolutions="AVX512_CORE", of=(HALF,)),
)


def measure_reruns(assets: Path, out: Path) -> dict[str, Any]:
    """Record, rerun, write `reruns.json` and `reruns.md`.

    Raises:
        UserError: if a run is refused.
    """
    suspects = sorted(p.parent for p in (assets / "examples").glob("*/example.json"))
    rows, machine = [], {}
    with TemporaryDirectory() as folder:
        for preset, precision in RUNS:
            environments = [p for p in ENVIRONMENTS if (preset, precision) in p.of]
            found: dict[str, list[dict[str, Any]]] = {p.name: [] for p in environments}
            for suspect in suspects:
                bundle = Path(folder) / f"{suspect.name}-{preset}-{precision}"
                with start_process({}) as process:
                    machine = process.submit(_record, assets, suspect, preset, precision, bundle).result()
                for environment in environments:
                    with start_process(environment.variables()) as process:
                        found[environment.name].append(process.submit(_rerun, bundle, environment.threads).result())
            rows += [
                {"preset": preset, "precision": precision, "elsewhere": name, **_largest(each)}
                for name, each in found.items()
            ]
    report = {"machine": machine, "places": [{"name": p.name, **p.variables()} for p in ENVIRONMENTS], "rows": rows}
    out.mkdir(parents=True, exist_ok=True)
    (out / "reruns.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "reruns.md").write_text(reruns_table(report))
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(reruns_table(measure_reruns(options.assets, options.out)), end="")


def reruns_table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    machine = report["machine"]
    text = (
        f"Largest differences between recorded runs and the same done again, `python -m eval reruns`; "
        f"{machine['device_name']}, recorded on {machine['threads']} threads; both shipped suspects, {OF_EACH} members "
        f"and {OF_EACH} holdouts of each, and their controls. Pictures: mean absolute difference, of [0, 1]."
    )
    kinds = ("scores", "pictures", "embedder")
    columns = (
        "preset",
        "precision",
        "rerun on",
        "scores",
        "pictures",
        "an embedder",
        "answers that differ",
        "accepted",
    )
    rows = [
        [
            f"`{r['preset']}`",
            r["precision"],
            r["elsewhere"],
            *(f"{r[kind]:.1e}" for kind in kinds),
            f"{r['answers_that_differ']} of {r['answers']}",
            "yes" if r["accepted"] else "NO",
        ]
        for r in report["rows"]
    ]
    return f"{text}\n\n{markdown_table(columns, rows)}\n"


def summarise(comparison: Comparison) -> dict[str, Any]:
    """The largest difference of each kind.

    Raises:
        UserError: if a number could not be computed again.
    """
    largest = {"scores": 0.0, "pictures": 0.0, "embedder": 0.0}
    for row in comparison.rows:
        kind = "embedder" if row.score in SOURCES else "pictures" if row.score.endswith(" picture") else "scores"
        if row.difference is None:
            raise UserError("studies.not_repeated", score=row.score, picture=row.of)
        largest[kind] = max(largest[kind], row.difference)
    differ = sum(recorded != now for _, recorded, now in comparison.outcomes)
    answers = {"answers": len(comparison.outcomes), "answers_that_differ": differ}
    return largest | answers | {"accepted": comparison.agrees}


def _largest(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all suspects together."""
    most = {kind: max(e[kind] for e in each) for kind in ("scores", "pictures", "embedder")}
    counts = {name: sum(e[name] for e in each) for name in ("answers", "answers_that_differ")}
    return most | counts | {"accepted": all(e["accepted"] for e in each)}


@contextmanager
def start_process(environment: Mapping[str, str]) -> Iterator[ProcessPoolExecutor]:
    """A new process that starts with these variables, too."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            process.submit(os.getpid).result()  # started: it has them
            yield process
    finally:
        os.environ.clear()
        os.environ.update(before)


def _record(assets: Path, suspect: Path, preset: str, precision: str, bundle: Path) -> dict[str, Any]:
    """Judge and seal; returns the machine as the record names it."""
    torch.set_num_threads(THREADS)
    pictures = [str(p) for part in ("member", "holdout") for p in picture_files(suspect / part, part)[:OF_EACH]]
    prompt = json.loads((suspect / "example.json").read_text())["prompt"]
    models = ["--base", str(assets / "mini"), "--suspect", str(suspect / "checkpoint"), "--prompt", prompt]
    how = ["--preset", preset, "--device", "cpu", "--precision", precision, "--out", str(bundle)]
    controls = ["--controls", str(assets / "controls" / suspect.name)]
    options = build_parser().parse_args(["authenticate", *pictures, *models, *controls, *how])
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        options.run(options)
    with open_bundle(bundle) as sealed:
        return to_json(bundle_record(sealed).machine)


def _rerun(bundle: Path, threads: int) -> dict[str, Any]:
    with open_bundle(bundle) as sealed:
        return summarise(repeat(sealed, RerunOptions(threads=threads)))
