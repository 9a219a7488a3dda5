"""The tables of numbers of the page on the paper: the paper's beside ours."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.analysis.paper_cells import (
    EMBEDDER,
    PIPELINES,
    PLACES,
    RAW,
    WITNESS,
    extraction_cells,
    extraction_curve,
    read_cells,
    table1_columns,
    table3_cells,
)
from eval.analysis.tables import load_paper
from eval.markdown import markdown_table

MIXTURES = "20 and 50 pictures: works of two and of five artists together, one suspect for each half."
TABLE_2 = (  # folder, method, measures, and what stands above
    (
        *("table2", "cgidm", (WITNESS, EMBEDDER)),
        "Small bases of the kinds, on the same halves of the same artists, by DreamBooth with prior loss:",
    ),
    ("table2", "loss_contrast", ("contrast",), "The same suspects by the control test:"),
    ("table2-lora", "loss_contrast", ("contrast",), "LoRAs of the same bases by the control test:"),
)
MEASURES = {WITNESS: "removed cells", EMBEDDER: "embedder", "contrast": "`loss_contrast`"}


def numbers(results: Path) -> str:
    """The tables of numbers, under headings."""
    parts = [
        ("Table 1", _table1_numbers(results)),
        ("Table 2", _table2_numbers(results)),
        ("Table 3", f"{MIXTURES}\n\n{_beside('table3', table3_cells(results))}"),
        ("Table 4", _beside("table4", read_cells(results, "table4", "training"))),
        ("Table 6", _own_rows(read_cells(results, "table6", "method", own=True))),
        ("Figure 3a", _own_rows(read_cells(results, "figure3a", "training"))),
        ("Figure 3b", _extraction_rows(results)),
        ("Figure 4", _mask_rows(results)),
        ("Appendix G", _test_rows(results)),
        ("Appendix J", _threshold_rows(results)),
    ]
    return "\n".join(f"### {title}\n\n{table}\n" for title, table in parts)


def _table1_numbers(results: Path) -> str:
    paper, rows = load_paper()["table1"], []
    for method in (*PIPELINES, "cgidm"):
        by = {m: table1_columns(results, method, m) for m in (EMBEDDER, WITNESS if method == "cgidm" else RAW)}
        for i, (dataset, training) in enumerate(PLACES):
            theirs = paper[dataset][training][method]
            row = [f"{theirs[m]['auc']:.2f}" for m in ("clip", "dino")]
            rows.append(
                [f"`{method}`", f"{dataset}, {training}", *row, *(f"{cells[i]['auc']:.3f}" for cells in by.values())]
            )
    heads = ["method", "suspects", "paper, CLIP", "paper, DINO", "ours, embedder", "ours, removed cells"]
    return "AUC.\n\n" + markdown_table(heads, rows)


def _table2_numbers(results: Path) -> str:
    text = _beside("table2", {})
    for folder, method, measures, about in TABLE_2:
        if (results / "mini" / folder / "summary.json").exists():
            cells = read_cells(results, folder, "training", method)
            rows = [[name, *(_with_interval(by[m]) for m in measures)] for name, by in cells.items()]
            heads = ["", *(f"ours: AUC, {MEASURES[m]}" for m in measures)]
            text += f"\n\n{about}\n\n{markdown_table(heads, rows)}"
    return text


def _with_interval(cell: Mapping[str, Any]) -> str:
    """AUC with its interval over concepts."""
    low, high = cell["interval"]
    return f"{cell['auc']:.3f} ({low:.3f} to {high:.3f})"


def _beside(table: str, cells: Mapping[str, Mapping[str, Any]]) -> str:
    """The paper's rows with ours beside; empty where there is none."""
    rows = []
    for name, row in load_paper()[table]["rows"].items():
        theirs = [f"{row[m][k]:.2f}" for k in ("auc", "accuracy") for m in ("clip", "dino")]
        rows.append([name, *theirs, *(_worth(cells[name]) if name in cells else ["not run"] * 3)])
    return markdown_table(["", *_heads(paper=True)], rows)


def _own_rows(cells: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [[name, *_worth(by)] for name, by in cells.items()]
    return "The paper's text has no value.\n\n" + markdown_table(["", *_heads(paper=False)], rows)


def _heads(paper: bool) -> list[str]:
    theirs = [f"paper: {k}, {m}" for k in ("AUC", "accuracy") for m in ("CLIP", "DINO")] if paper else []
    return [*theirs, "ours: AUC, removed cells", "AUC, embedder", "accuracy, removed cells"]


def _worth(by: Mapping[str, Any]) -> Sequence[str]:
    accuracy_of = by[WITNESS]["accuracy"]["in_sample"]
    return [f"{by[WITNESS]['auc']:.3f}", f"{by[EMBEDDER]['auc']:.3f}", f"{accuracy_of:.3f}"]


def _extraction_rows(results: Path) -> str:
    measures = {RAW: "raw cosine", WITNESS: "alignment", EMBEDDER: "embedder"}
    heads = ["", *(f"{kind}, {name}" for name in measures.values() for kind in ("AUC", "accuracy"))]
    rows = [
        [steps, *(f"{v:.3f}" for m in measures for v in (by[m]["auc"], by[m]["accuracy"]["in_sample"]))]
        for steps, by in extraction_cells(results).items()
    ]
    curve = [[steps, f"{auc:.3f}", f"{right:.3f}"] for steps, (auc, right) in extraction_curve(results).items()]
    return (
        f"The paper's text has no value. Accuracy is fitted.\n\n{markdown_table(heads, rows)}\n\n"
        "The same painters and recipe; independent noise and a sampled encoding, as in the paper's code:\n\n"
        + markdown_table(["steps of `reference`", "AUC, raw cosine", "accuracy, raw cosine"], curve)
    )


def _mask_rows(results: Path) -> str:
    kinds = json.loads((results / "masks.json").read_text(encoding="utf-8"))["kinds"]
    rows = [
        [name.replace("_", " "), *(f"{row[k]:.3f}" for k in ("used", "unused", "AUC"))] for name, row in kinds.items()
    ]
    return markdown_table(["removed", "alignment, used", "alignment, unused", "AUC"], rows)


def _test_rows(results: Path) -> str:
    pairs = [(m, s) for m in ("loss_contrast", "secmi", "pia") for s in (("suspect",) if m != "loss_contrast" else ())]
    pairs = [("loss_contrast", "contrast"), *pairs, ("secmi", "contrast"), ("pia", "contrast")]
    rows = [[f"`{m}.{s}`", *(f"{c['auc']:.3f}" for c in table1_columns(results, m, s))] for m, s in pairs]
    return "AUC.\n\n" + markdown_table(["test", *(f"{d}, {t}" for d, t in PLACES)], rows)


def _threshold_rows(results: Path) -> str:
    kinds = {
        "one, of other concepts": "other_concepts",
        "one, fitted": "in_sample",
        "one for each concept": "per_concept",
    }
    cells = table1_columns(results, "cgidm", WITNESS)
    rows = [[name, *(f"{c['accuracy'][kind]:.3f}" for c in cells)] for name, kind in kinds.items()]
    return "Accuracy on the removed cells.\n\n" + markdown_table(["threshold", *(f"{d}, {t}" for d, t in PLACES)], rows)
