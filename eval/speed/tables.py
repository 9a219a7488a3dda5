"""The report as Markdown: for the folder of results, and for the README."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eval.markdown import markdown_table

ARM_NAMES = {
    "reference": "`reference`: as the public code",
    "paper": "`paper`",
    "fast": "`fast`",
    "answer": "the first answer: mirror test",
}
RECOVERIES = ("fast", "paper", "reference")
PAIR_NAMES = {"full": "DreamBooth", "lora": "LoRA"}
EVALUATION = (
    "An evaluation is one network's forward pass and its gradient with respect to the latent, for one picture at one "
    "time step. A picture's seconds are its preset's evaluations and its ends (encoded, decoded, `loss_contrast`). "
    "The first answer needs no gradient: forward passes alone, and the autoencoder."
)
GPU_COMMAND = "python -m eval bench --models sd14,sdxl,flux-1-dev,z-image --dtype bfloat16"


def file_stem(report: dict[str, Any]) -> str:
    """What the report was called, else `cpu` or the GPU's name; with the precision if users get another one there."""
    if report.get("name"):
        return report["name"]
    usual = "float16" if report["machine"].get("gpu") else "float32"
    name = device_stem(report["machine"])
    return name if report["dtype"] == usual else f"{name}-{report['dtype']}"


def device_stem(machine: dict[str, Any]) -> str:
    """`cpu`, or the GPU's name."""
    return re.sub(r"[^a-z0-9]+", "-", (machine.get("gpu") or "cpu").lower()).strip("-")


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """All that lie there, the CPU's first."""
    return [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"), key=lambda p: (p.stem != "cpu", p.stem))]


def markdown(report: dict[str, Any]) -> str:
    """Everything that was measured in one run."""
    parts = [
        "# How fast, how much memory",
        describe(report),
        "## Speed",
        EVALUATION,
        speed_table(report, report["rows"]),
        "## Memory at one picture",
        memory_table(report),
        "## Does the cost grow as a straight line?",
        "Seconds of a step of `paper` with so many pictures at once, and of a run of so many steps on one picture.",
        linear_table(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def describe(report: dict[str, Any]) -> str:
    """Machine, versions, precision, commit, date: one paragraph."""
    peak = f"matrix products and convolutions reach {report['matrix_peak_flops'] / 1e12:.3g} TFLOP/s"
    quick = " A quick run: not to be quoted." if report["quick"] else ""
    return f"{place_and_versions(report)}; {report['dtype']}; {peak}.{quick}"


def place_and_versions(report: dict[str, Any]) -> str:
    """Where, with what, when."""
    m, v = report["machine"], report["versions"]
    where = f"{m['processor']} ({m['instructions']}), {m['threads']} of {m['cores']} cores"
    where += f", waiting {m['waiting'].lower()}" if m.get("waiting") else ""
    if m["device"] == "cuda":
        gpu = f"{m['gpu']}, {_gigabytes(m['gpu_memory_bytes'])}, driver {m['driver']}, CUDA {m['cuda']}"
        where = f"{gpu}; {where}"
    commit = (report["commit"] or "unknown")[:12] + (" and changes" if report["files_changed_since"] else "")
    packages = ", ".join(f"{name} {number}" for name, number in v.items() if number)
    return f"{where}; {packages}; commit {commit}; {report['date']}"


def speed_table(report: dict[str, Any], rows: Iterable[dict[str, Any]]) -> str:
    """One row a measurement."""
    gpu = report["machine"]["device"] == "cuda"
    lines = []
    rows = list(rows)
    kept = {_place(r) for r in rows if not r["checkpointing"]}
    for r in rows:
        if r["checkpointing"] and _place(r) in kept:
            continue
        again = ", activations computed twice" if r["checkpointing"] else ""
        head = [r["model"], PAIR_NAMES[r["pair"]], ARM_NAMES[r["arm"]] + again, str(r["pictures"])]
        if r.get("seconds_per_picture") is None:
            lines.append([*head, r["not_measured"] or "", *[""] * 5])
            continue
        step = r["step"]
        share, times = r.get("share_of_matrix_peak"), r.get("times_reference")
        lines.append(
            [
                *head,
                _evaluation(r["seconds_per_evaluation"]) + _spread(step),
                _seconds(r["seconds_per_picture"]),
                f"{r['pictures_per_hour']:,.3g}" if r["pictures_per_hour"] < 100 else f"{r['pictures_per_hour']:,.0f}",
                f"{times:.1f}" if times else "",
                f"{100 * share:.0f} %" if share else "",
                _gigabytes(r["peak_bytes"]),
            ]
        )
    memory = "peak memory" if gpu else "peak memory of the process"
    heads = ["model", "suspect", "arm", "pictures at once", "an evaluation", "a picture", "pictures an hour"]
    return make_table([*heads, "times `reference`", "of the matrix peak", memory], lines)


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["model"], row["pair"], row["arm"], row["pictures"]


def memory_table(report: dict[str, Any]) -> str:
    """At one picture: the recovery with activations kept or computed twice, and the autoencoder at the ends."""
    lines = []
    for pair in report["pairs"]:
        mine = [r for r in report["rows"] if (r["model"], r["pair"]) == (pair["model"], pair["pair"])]
        for row in (r for r in mine if r["pictures"] == 1 and r["arm"] in ("reference", "paper")):
            if row["step"] is None:
                continue
            kept = "computed twice" if row["checkpointing"] else "kept"
            lines.append(
                [
                    f"{pair['model']}, {pair['side']} px",
                    PAIR_NAMES[pair["pair"]],
                    ARM_NAMES[row["arm"]],
                    kept,
                    _gigabytes(row["peak_bytes"]),
                    _gigabytes(pair.get("ends_peak_bytes")),
                    _evaluation(row["seconds_per_evaluation"]),
                ]
            )
    heads = ["model", "suspect", "arm", "activations", "peak of the recovery", "peak at the ends", "an evaluation"]
    return make_table(heads, lines)


def linear_table(report: dict[str, Any]) -> str:
    """Measured seconds and the least-squares line through them."""
    counts = sorted({r["pictures"] for r in report["rows"] if r["arm"] == "paper"})
    lengths = sorted({s["steps"] for p in report["pairs"] for s in p["steps"]})
    lines = []
    for pair in report["pairs"]:
        mine = [
            r for r in report["rows"] if (r["model"], r["pair"], r["arm"]) == (pair["model"], pair["pair"], "paper")
        ]
        taken = {r["pictures"]: r["step"]["median"] for r in mine if r["step"] and not r["checkpointing"]}
        ran = {s["steps"]: s["median"] for s in pair["steps"]}
        name = [pair["model"], PAIR_NAMES[pair["pair"]]]
        lines.append([*name, "a step", _cells(taken, counts, "pictures"), _line(pair.get("pictures_line"))])
        lines.append([*name, "a run", _cells(ran, lengths, "steps"), _line(pair.get("steps_line"))])
    return make_table(["model", "suspect", "seconds of", "measured", "line (worst distance, R²)"], lines)


def readme_section(reports: Sequence[dict[str, Any]], more: Sequence[str] = ()) -> str:
    """The tables of all machines at hand, each at one picture, at eight, and at its best; then paragraphs of `more`."""
    parts = []
    for report in reports:
        parts.append(" ".join(filter(None, (describe(report), *_sentences(report)))))
        parts.append(speed_table(report, chosen_rows(report["rows"])))
        if report["machine"]["device"] == "cuda":
            parts.append(memory_table(report))
    if all(r["machine"]["device"] != "cuda" for r in reports):
        parts.append(f"On a GPU: not run yet (`{GPU_COMMAND}`).")
    parts += more
    return "\n\n".join(parts) + "\n"


def _sentences(report: dict[str, Any]) -> list[str]:
    """What one picture takes, for each model as a full pair."""
    said = []
    for model in dict.fromkeys(r["model"] for r in report["rows"]):
        ones = {
            r["arm"]: f"{_seconds(r['seconds_per_picture'])} with `{r['arm']}`"
            for r in report["rows"]
            if (r["model"], r["pair"], r["pictures"]) == (model, "full", 1) and r.get("seconds_per_picture")
            if not r["checkpointing"]
        }
        if set(RECOVERIES) <= ones.keys():
            fast, paper, reference = (ones[arm] for arm in RECOVERIES)
            said.append(f"One picture of `{model}` takes {fast}, {paper} and {reference}, without controls.")
    return said


def chosen_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reference, and of ours one picture, eight, and the batch with the most pictures an hour."""
    chosen = []
    for row in rows:
        peers = [r for r in rows if all(r[k] == row[k] for k in ("model", "pair", "arm", "checkpointing"))]
        rates = [r.get("pictures_per_hour") or 0 for r in peers]
        if row["pictures"] in (1, 8) or (max(rates) > 0 and row.get("pictures_per_hour") == max(rates)):
            chosen.append(row)
    return chosen


def _cells(measured: dict[int, float], counts: Sequence[int], what: str) -> str:
    return ", ".join(f"{n}: {measured[n]:.3g}" for n in counts if n in measured) + f" ({what}: s)" if measured else ""


def _line(line: dict[str, float] | None) -> str:
    if line is None:
        return ""
    sign = "+" if line["offset"] >= 0 else "-"
    formula = f"{line['slope']:.3g} n {sign} {abs(line['offset']):.2g}"
    return f"{formula} ({100 * line['worst']:.0f} %, {line['r_squared']:.4f})"


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _evaluation(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _spread(step: dict[str, Any]) -> str:
    """Half of the distance of the quartiles; nothing is known of a single call."""
    if step["repeats"] == 1:
        return " (one call)"
    return f" ± {100 * (step['high'] - step['low']) / 2 / step['median']:.0f} %"


def _gigabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.2f} GB"


def make_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the empty string if it has no rows."""
    return markdown_table(heads, lines, spaced=True) if lines else ""
