"""The whole benchmark: every model as every kind of pair, and the report, written anew after each."""

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cgidm.errors import UserError
from eval.speed.arms import preset_of
from eval.speed.clock import Budget
from eval.speed.fit import fit_line
from eval.speed.machine import describe_machine, describe_software
from eval.speed.measure import Measurer, PairReport, Settings
from eval.speed.subjects import KINDS, PairKind, Subject
from eval.speed.tables import file_stem, markdown
from eval.speed.work import measure_matrix_peak

QUICK = {"pictures": (1, 2), "steps": (1, 2, 3), "longest": 0.3, "warm_ups": 1, "least": 1, "most": 2}
DIGITS = 5  # significant, of every number that is written


@dataclass(frozen=True)
class BenchRun:
    """A run of the benchmark."""

    settings: Settings
    kinds: tuple[PairKind, ...] = KINDS
    budget: float = 480.0  # seconds; the last measurement may end a little later
    quick: bool = False
    out: Path = Path("eval/results/bench")
    name: str | None = None  # of the files; None: that of the device


def quicken(settings: Settings) -> Settings:
    """Seconds instead of minutes: enough to see that everything works, too little to be quoted."""
    return replace(settings, **QUICK)


def run_bench(subjects: Sequence[Subject], job: BenchRun, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure every subject; writes JSON and Markdown to `job.out`, under the name of the device or the job's own."""
    settings, budget = job.settings, Budget.of(job.budget)
    device = settings.device
    report: dict[str, Any] = {
        **({} if job.name is None else {"name": job.name}),
        "machine": describe_machine(device),
        **describe_software(),
        "dtype": str(settings.dtype).removeprefix("torch."),
        "quick": job.quick,
        "matrix_peak_flops": measure_matrix_peak(device, settings.dtype, job.quick),
        "presets": {arm: asdict(preset_of(arm)) for arm in settings.arms if arm != "answer"},
        "pairs": [],
        "rows": [],
    }
    places: list[tuple[Subject, PairKind]] = [(subject, kind) for subject in subjects for kind in job.kinds]
    gc.freeze()  # the many objects of imported modules need not be searched before every measurement
    try:
        for i, (subject, kind) in enumerate(places):
            share = budget.share(len(places) - i)
            measured = Measurer(subject, kind, settings, share, tell).run()
            report["pairs"].append(_summary(subject, measured, budget))
            report["rows"] += finish_rows(measured)
            again = measure_matrix_peak(
                device, settings.dtype, job.quick
            )  # other programs, or heat, may have slowed it
            report["matrix_peak_flops"] = max(report["matrix_peak_flops"], again)
            share_peak(report)
            write_report(report, job.out)
    finally:
        gc.unfreeze()
    return report


def finish_rows(measured: PairReport) -> list[dict[str, Any]]:
    """Add what needs the whole pair's measurements: a picture's cost with its ends, and how often the reference's."""
    ends = measured.facts.get("ends_seconds")
    for row in measured.rows:
        own = row.get("ends_seconds", ends)
        if row["step"] is None or own is None:
            continue
        row["seconds_per_picture"] = row["recovery_seconds_per_picture"] + own
        row["pictures_per_hour"] = 3600 / row["seconds_per_picture"]
    rates = [r["pictures_per_hour"] for r in measured.rows if r["arm"] == "reference" and r.get("pictures_per_hour")]
    for row in measured.rows:
        if rates and row.get("pictures_per_hour"):
            row["times_reference"] = row["pictures_per_hour"] / rates[0]
    return measured.rows


def share_peak(report: dict[str, Any]) -> None:
    """What part of the best rate in matrix products each row's arithmetic reaches.

    The arithmetic is that of a forward pass and the input's gradient: what an arm does beyond it counts for nothing.
    """
    flops = {(p["model"], p["pair"]): p.get("flops_per_evaluation") for p in report["pairs"]}
    for row in report["rows"]:
        needed = flops[row["model"], row["pair"]]
        if needed and row["step"] and row["arm"] != "answer":  # it has no gradient
            row["share_of_matrix_peak"] = needed / row["seconds_per_evaluation"] / report["matrix_peak_flops"]


def _summary(subject: Subject, measured: PairReport, budget: Budget) -> dict[str, Any]:
    """What holds for all rows of a pair, with the lines through its measurements."""
    rows = [r for r in measured.rows if r["arm"] == "paper" and r["step"] and not r["checkpointing"]]
    line = fit_line([r["pictures"] for r in rows], [r["step"]["median"] for r in rows])
    return {
        **measured.facts,
        "title": subject.title,
        "steps": measured.steps,
        "pictures_line": asdict(line) if line else None,
        "seconds_left": budget.left,
    }


def write_report(report: dict[str, Any], out: Path) -> None:
    """JSON, and the same as tables."""
    out.mkdir(parents=True, exist_ok=True)
    rounded = _rounded(report)
    (out / f"{file_stem(report)}.json").write_text(json.dumps(rounded, indent=1) + "\n")
    (out / f"{file_stem(report)}.md").write_text(markdown(rounded))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU if there is one.

    Raises:
        UserError: if the device is not here.
    """
    here = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    if name not in ("auto", *here):
        raise UserError("speed.unknown_device", given=name, accepted=["auto", *here])
    return torch.device(here[-1] if name == "auto" else name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is what users run: half precision on a GPU, single on the CPU."""
    chosen = ("float16" if device.type == "cuda" else "float32") if name == "auto" else name
    return getattr(torch, chosen)
