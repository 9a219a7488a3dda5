"""`python -m eval precision`: do verdicts in half precision agree with those in float32?

Members, holdouts and controls of the shipped suspects are judged in each precision, with the preset `fast`; the
recovery is also run as `paper` does it, with fewer steps. Agreement is the rank correlation (Spearman) of scores.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from cgidm.conductor import authenticate
from cgidm.errors import UserError
from cgidm.families import load_pair
from cgidm.judging.result import VERDICT_SCORE, Result
from cgidm.method.config import PRESETS, RunConfig
from cgidm.method.models import ModelPair
from cgidm.pictures.folders import picture_files
from cgidm.pictures.images import Picture, read_picture
from cgidm.run.provenance import describe_machine
from eval.markdown import markdown_table

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NEEDED = 0.98  # rank correlation with float32
PAPER_STEPS = 20  # instead of 1000
SHORT_PAPER = replace(PRESETS["paper"], recovery=replace(PRESETS["paper"].recovery, steps=PAPER_STEPS))
CONFIGS: dict[str, RunConfig] = {"fast": PRESETS["fast"], f"paper, {PAPER_STEPS} steps": SHORT_PAPER}
Table = dict[str, dict[str, list[Any]]]  # measure -> suspect -> a value of each picture


def measure_precision(assets: Path, out: Path, precisions: Sequence[str], device: str, most: int | None) -> dict:
    """Judge all shipped pictures (or `most` of each folder) in every precision, write `precision.json` and `.md`.

    Raises:
        UserError: for a precision that is not known.
    """
    if unknown := [name for name in precisions if name not in PRECISIONS]:
        raise UserError("studies.unknown_precision", given=unknown[0], accepted=list(PRECISIONS))
    found = {name: _judge_all(assets, name, device, most) for name in dict.fromkeys(["float32", *precisions])}
    machine = found["float32"][1]
    full, halves = found.pop("float32")[0], found
    report = {
        "machine": machine,
        "needed": NEEDED,
        "precisions": {name: compare(full, half) for name, (half, _) in halves.items()},
        "scores": {"float32": full, **{name: half for name, (half, _) in halves.items()}},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "precision.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "precision.md").write_text(precision_table(report))
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    report = measure_precision(
        options.assets, options.out, options.precisions.split(","), options.device, options.pictures
    )
    print(precision_table(report), end="")


def _judge_all(assets: Path, precision: str, device: str, most: int | None) -> tuple[Table, dict]:
    """Table, p-values and outcomes of every shipped suspect in one precision, and the machine."""
    table: Table = {}
    machine: dict = {}
    for folder in sorted(p.parent for p in (assets / "examples").glob("*/example.json")):
        prompt = json.loads((folder / "example.json").read_text())["prompt"]
        dtype = PRECISIONS[precision]
        pair = load_pair(str(assets / "mini"), str(folder / "checkpoint"), prompt, device=device, dtype=dtype)
        machine = machine or describe_machine(pair)
        pictures = [p for part in ("member", "holdout") for p in _read(folder / part, pair.resolution, most)]
        controls = _read(assets / "controls" / folder.name, pair.resolution, most)
        with emulated_convolutions(pair):
            for name, config in CONFIGS.items():
                result = authenticate(pair, pictures, controls if name == "fast" else (), config=config)
                _enter(table, folder.name, name, result)
    return table, machine


def _enter(table: Table, suspect: str, name: str, result: Result) -> None:
    def column(measure: str, values: Sequence[Any]) -> None:
        table.setdefault(measure, {})[suspect] = [round(v, 7) if isinstance(v, float) else v for v in values]

    column(f"removed_alignment, {name}", [r.scores["removed_alignment"] for r in result.pictures])
    if result.control_scores:
        column(VERDICT_SCORE, [*(r.scores[VERDICT_SCORE] for r in result.pictures), *result.control_scores])
        column("p", [r.verdict.p_value for r in result.pictures])
        column("outcome", [r.verdict.outcome for r in result.pictures])


def compare(full: Table, half: Table) -> dict:
    """How far one precision is from the other: each suspect, and all pooled."""
    measures = {}
    for measure in (m for m in full if m not in ("p", "outcome")):
        suspects = {name: agreement(full[measure][name], half[measure][name]) for name in full[measure]}
        measures[measure] = {**suspects, "pooled": agreement(_pool(full[measure]), _pool(half[measure]))}
    p = [(a, b) for a, b in zip(_pool(full["p"]), _pool(half["p"]), strict=True) if a is not None and b is not None]
    outcomes = zip(_pool(full["outcome"]), _pool(half["outcome"]), strict=True)
    return {
        "measures": measures,
        "holds": all(a["spearman"] >= NEEDED for rows in measures.values() for a in rows.values()),
        "p_values": len(p),
        "largest_change_of_p": round(max((abs(a - b) for a, b in p), default=0.0), 4),
        "outcomes_that_differ": sum(a != b for a, b in outcomes),
    }


def _pool(suspects: Mapping[str, list[Any]]) -> list[Any]:
    return list(chain.from_iterable(suspects.values()))


def agreement(full: Sequence[float], half: Sequence[float]) -> dict[str, float]:
    """NaN, where a score is, is no agreement and stays NaN."""
    a, b = np.array(full), np.array(half)
    ranks: Any = spearmanr(a, b)
    return {
        "pictures": len(a),
        "spearman": round(float(ranks.statistic), 5),
        "largest_difference": round(float(np.max(np.abs(a - b))), 5),
        "deviation_of_scores": round(float(a.std()), 5),
    }


def precision_table(report: Mapping) -> str:
    """The report as Markdown."""
    machine = report["machine"]
    lines = [
        f"Agreement with float32, `python -m eval precision`; {machine['device_name']}, {machine['threads']} thread.",
        "On a CPU, float16 convolutions are emulated: float16 in and out, summed in float32, as a GPU does them.",
        "",
    ]
    columns = ("precision", "score", "suspect", "pictures", "rank correlation")
    table = []
    for precision, found in report["precisions"].items():
        for measure, rows in found["measures"].items():
            for name, a in rows.items():
                numbers = f"{a['spearman']:.4f}", f"{a['largest_difference']:.4f}", f"{a['deviation_of_scores']:.3f}"
                table.append([precision, measure, name, a["pictures"], *numbers])
    lines += [markdown_table((*columns, "largest difference", "deviation of scores"), table), ""]
    for precision, found in report["precisions"].items():
        lines.append(
            f"{precision}: of {found['p_values']} p-values the one that changes most changes by "
            f"{found['largest_change_of_p']:.3f}; {found['outcomes_that_differ']} outcomes differ; rank correlations "
            f"{'all reach' if found['holds'] else 'do not all reach'} {report['needed']}."
        )
    return "\n".join(lines) + "\n"


@contextmanager
def emulated_convolutions(pair: ModelPair) -> Iterator[None]:
    """On a CPU, float16 convolutions as a GPU does them: float16 in and out, products summed in float32.

    Few CPUs have kernels for them, and torch's stand-in takes forty times as long.
    """
    networks = [*pair.modules, getattr(pair.codec, "vae", nn.Identity())]
    convolutions = {m for n in networks for m in n.modules() if type(m) is nn.Conv2d and m.weight.dtype == torch.half}
    patched = convolutions if pair.device.type == "cpu" else set()
    for module in patched:
        setattr(module, "_conv_forward", _SummedInFloat32(module))  # noqa: B010
    try:
        yield
    finally:
        for module in patched:
            delattr(module, "_conv_forward")


class _SummedInFloat32:
    """Stands in for `nn.Conv2d._conv_forward` of one module."""

    def __init__(self, module: nn.Conv2d) -> None:
        self.stride, self.padding, self.dilation = module.stride, module.padding, module.dilation
        self.groups = module.groups

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        offset = None if bias is None else bias.float()
        y = F.conv2d(x.float(), weight.float(), offset, self.stride, self.padding, self.dilation, self.groups)
        return y.to(x.dtype)


def _read(folder: Path, side: int, most: int | None) -> list[Picture]:
    return [read_picture(p, side) for p in picture_files(folder, "pictures")[:most]]
