"""The paper beside our own numbers: a row for each of its tables and figures, and the tables of numbers behind them.

`paper_contents.json` lists what the paper has, `paper.json` holds its numbers; ours are those of committed results.
Whether the two agree is computed from the numbers, by a rule that stands in the row's function.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eval.analysis.metrics import accuracy, pooled_auc
from eval.analysis.tables import load_paper
from eval.markdown import markdown_table

CONTENTS = Path(__file__).parent / "paper_contents.json"
PLACES = [(d, t) for d in ("wikiart", "dreambooth") for t in ("dreambooth-prior", "dreambooth", "lora")]
PIPELINES = ("text2img", "ddnm", "img2img")
WITNESS, EMBEDDER = "removed_alignment", "efficientnet_lite0"
EVALUATIONS_OF_A_STEP = 2  # base and suspect
MIXTURES = "20 and 50 pictures: works of two and of five artists together, one suspect for each half."
NOT_AT_HAND = "in the supplement, which was not at hand"
YES, PARTLY, NO, NOT_RUN, NO_NUMBER = "yes", "in part", "no", "not run", "no number"


class Finding(NamedTuple):
    """What a row of the page says of one table or figure."""

    theirs: str
    ours: str
    agrees: str
    reason: str  # or the command that would run it


def load_contents() -> list[dict[str, Any]]:
    """What the paper has: item, page, and a caption in words of our own."""
    return json.loads(CONTENTS.read_text(encoding="utf-8"))["contents"]


def overview(results: Path) -> str:
    """The table with a row for each entry of the contents."""
    rows = []
    for entry in load_contents():
        found = FINDINGS[entry["item"]](results)
        rows.append([f"**{entry['item']}**: {entry['caption']}", *found])
    return markdown_table(["of the paper", "paper", "ours", "agrees", "why, or what would run it"], rows) + "\n"


def numbers(results: Path) -> str:
    """The tables of numbers, under headings."""
    parts = [
        ("Table 1", _table1_numbers(results)),
        ("Table 2", _beside("table2", {})),
        ("Table 3", f"{MIXTURES}\n\n{_beside('table3', _table3_cells(results))}"),
        ("Table 4", _beside("table4", _cells(results, "table4", "training"))),
        ("Table 6", _own_rows(_cells(results, "table6", "method", own=True))),
        ("Figure 3a", _own_rows(_cells(results, "figure3a", "training"))),
        ("Figure 3b", _curve_rows(results)),
        ("Figure 4", _mask_rows(results)),
        ("Appendix G", _test_rows(results)),
        ("Appendix J", _threshold_rows(results)),
    ]
    return "\n".join(f"### {title}\n\n{table}\n" for title, table in parts)


def _summary(results: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((results / "mini" / name / "summary.json").read_text(encoding="utf-8"))["trained"]


def _columns(results: Path, method: str, measure: str) -> list[dict[str, Any]]:
    """Cells of Table 1 in the order of `PLACES`."""
    found = {(e["dataset"], e["training"]): e for e in _summary(results, "table1") if _is(e, method, measure)}
    return [found[place] for place in PLACES]


def _cells(
    results: Path, name: str, factor: str, method: str = "cgidm", own: bool = False
) -> dict[str, dict[str, dict[str, Any]]]:
    """Value of the factor -> measure -> cell, of one method, or of each value's `own`."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for e in _summary(results, name):
        if own or e["method"] == method:
            found.setdefault(e[factor], {})[e["measure"]] = e
    return {name: found[name] for name in sorted(found, key=_order)}


def _table3_cells(results: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of both committed experiments, or of the one there is."""
    found = _cells(results, "table3", "dataset")
    mixtures = results / "mini" / "table3-mixtures" / "summary.json"
    return found | (_cells(results, "table3-mixtures", "dataset") if mixtures.exists() else {})


def _order(name: str) -> tuple[int, str]:
    """Numbers by their size, what is not changed first."""
    digits = "".join(filter(str.isdigit, name))
    return (int(digits) if digits else (-1 if name.startswith("no ") else 100), name)


def _is(entry: Mapping[str, Any], method: str, measure: str) -> bool:
    return entry["method"] == method and entry["measure"] == measure


def _span(values: Iterable[float], digits: int = 3) -> str:
    values = list(values)
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def _listed(values: Mapping[str, float], digits: int = 3) -> str:
    return ", ".join(f"{name}: {value:.{digits}f}" for name, value in values.items())


def _auc(cells: Mapping[str, Mapping[str, Any]], measure: str = WITNESS) -> dict[str, float]:
    return {name: by[measure]["auc"] for name, by in cells.items()}


def _paper_auc(table: str, measure: str = "clip") -> dict[str, float]:
    return {name: row[measure]["auc"] for name, row in load_paper()[table]["rows"].items()}


# --- a function for each entry of the contents ---


def _table1(results: Path) -> Finding:
    own = [c["auc"] for c in _columns(results, "cgidm", EMBEDDER)]
    rivals = [[c["auc"] for c in _columns(results, p, EMBEDDER)] for p in PIPELINES]
    ahead = sum(o > max(others) for o, *others in zip(own, *rivals, strict=True))
    cells = [c["auc"] for c in _columns(results, "cgidm", WITNESS)]
    paper = load_paper()["table1"]
    theirs = [paper[d][t]["cgidm"][m]["auc"] for d, t in PLACES for m in ("clip", "dino")]
    agrees = PARTLY if ahead == len(PLACES) else NO
    if agrees == PARTLY and min(own) >= min(theirs):
        agrees = YES
    return Finding(
        f"ahead of every pipeline in every column; AUC {_span(theirs, 2)}",
        f"ahead in {ahead} of {len(PLACES)} columns; AUC {_span(own)} by the embedder, {_span(cells)} by the cells",
        agrees,
        "The order holds, the size does not: the kept half lifts every picture to the embedder, 20 steps stand for "
        "1000, EfficientNet-Lite0 for CLIP and DINO. `mini-table1`; for Stable Diffusion "
        "`python -m eval run paper-table1 --data DIR`",
    )


def _table2(results: Path) -> Finding:
    theirs = [row[m]["auc"] for row in load_paper()["table2"]["rows"].values() for m in ("clip", "dino")]
    return Finding(
        f"AUC {_span(theirs, 2)} for four bases",
        "none: the embedded model is one base",
        NOT_RUN,
        "`python -m eval run paper-table2-sd15 --data DIR`, and `paper-table2-sd20`; SD 1.4 is the first row of "
        "`paper-table4`. AltDiffusion can be judged, but its fine-tuning is not written",
    )


def _table3(results: Path) -> Finding:
    own, theirs = _auc(_table3_cells(results)), _paper_auc("table3")
    steady = max(own.values()) - min(own.values()) <= max(theirs.values()) - min(theirs.values())
    whole = set(own) == set(theirs)
    reason = "It falls here; why is not known. From 5 to 10 it may be the draw of pictures in part. `mini-table3`"
    rest = "`mini-table3-mixtures`, for which works of several artists were put together"
    return Finding(
        f"AUC hardly depends on the number: {_listed(theirs, 2)}",
        f"AUC {_listed(own)}",
        YES if steady else NO,
        f"{reason}, {rest}" if whole else f"{reason}; 20 and 50: `python -m eval run mini-table3-mixtures --data DIR`",
    )


def _table4(results: Path) -> Finding:
    own, theirs = _auc(_cells(results, "table4", "training")), _paper_auc("table4")
    same_worst = min(own, key=own.__getitem__) == min(theirs, key=theirs.__getitem__)
    flip = own["no defence"] - own["flip"] <= 0.05
    return Finding(
        f"AUC {_listed(theirs, 2)}",
        f"AUC {_listed(own)}",
        YES if same_worst and flip else PARTLY if same_worst else NO,
        "RandAugment costs most in both. Flipping costs here: half of the steps train on the mirror image. "
        "`mini-table4`",
    )


def _table6(results: Path) -> Finding:
    cells = _cells(results, "table6", "method", own=True)
    own, raw = _auc(cells), _auc(cells, "removed_cosine")
    blocks = [name for name in own if name.startswith("block")]
    beats = [all(min(by[b] for b in blocks) > by[o] for o in ("right_half", "blur")) for by in (own, raw)]
    even = max(own[b] for b in blocks) - min(own[b] for b in blocks) <= 0.05
    return Finding(
        f"blocks are best, their size hardly counts; numbers {NOT_AT_HAND}",
        f"alignment: AUC {_listed(own)}; raw cosine: AUC {_listed(raw)}",
        YES if all(beats) and even else PARTLY if any(beats) else NO,
        "By similarity, which the paper has, blocks are best. By alignment blur is as good. Small blocks are easier "
        "than large ones. `mini-table6`",
    )


def _figure3a(results: Path) -> Finding:
    cells = _cells(results, "figure3a", "training")
    own = {name: by[WITNESS]["accuracy"]["in_sample"] for name, by in cells.items()}
    rises = list(own.values()) == sorted(own.values())
    enough = own["40 steps"] > 0.9
    return Finding(
        "accuracy rises with the steps, above 0.90 from 40 on; no further value in the text",
        f"accuracy, fitted: {_listed(own)}",
        YES if rises and enough else PARTLY if rises or enough else NO,
        "`mini-figure3a`. The paper's axis goes to 100 steps, ours to 70",
    )


def _curve(results: Path) -> dict[int, tuple[float, float]]:
    """Extraction steps -> AUC and fitted accuracy of `reference`, by the raw cosine of the removed cells."""
    rows = pd.read_parquet(results / "mini" / "time" / "scores.parquet")
    rows = rows.query("method == 'reference' and measure == 'removed_cosine' and role == 'trained'")
    found = {}
    for evaluations in sorted(set(rows["evaluations"])):
        part = rows.query("evaluations == @evaluations")
        found[int(evaluations) // EVALUATIONS_OF_A_STEP] = (pooled_auc(part), accuracy(part, "in_sample"))
    return found


def _figure3b(results: Path) -> Finding:
    own = {f"{steps} steps": right for steps, (_, right) in _curve(results).items() if steps >= 100}
    settled = own["1000 steps"] >= max(own.values()) - 0.02
    return Finding(
        "accuracy rises until about 1000 steps, then stays; no value in the text",
        f"accuracy, fitted, of `reference` by the raw cosine: {_listed(own)}",
        YES if settled else NO,
        "On the small model the best moment is earlier, and more steps harm; why was not tested. From `mini-time`, "
        "whose noise is independent, as in the paper's code; all six steps: "
        "`python -m eval run mini-figure3b --data DIR` (hours)",
    )


def _figure4(results: Path) -> Finding:
    kinds = json.loads((results / "masks.json").read_text(encoding="utf-8"))["kinds"]
    own = {name: row["used"] - row["unused"] for name, row in kinds.items()}
    blocks = min(v for name, v in own.items() if name.startswith("block"))
    return Finding(
        "with coarse masks what comes back does not fit the picture",
        f"alignment of used less that of unused pictures: {_listed(own)}",
        YES if blocks > own["right_half"] else NO,
        "The sheet below; `python -m eval masks`",
    )


def _appendix_f(results: Path) -> Finding:
    manifest = json.loads((results / "mini" / "table1" / "manifest.json").read_text(encoding="utf-8"))["datasets"]
    rules = {name: f"{d['rule']}: {len(d['dropped'])} left out" for name, d in manifest.items()}
    ours = "; ".join(f"{name}, {rule}" for name, rule in rules.items())
    return Finding(
        "CLIP similarity above 0.90 is a near-duplicate", ours, NO_NUMBER, "CLIP's rule is in the `paper-` presets"
    )


def _appendix_g(results: Path) -> Finding:
    own = [c["auc"] for c in _columns(results, "loss_contrast", "contrast")]
    rivals = {m: [c["auc"] for c in _columns(results, m, "suspect")] for m in ("secmi", "pia")}
    ahead = all(o > r for of in rivals.values() for o, r in zip(own, of, strict=True))
    others = ", ".join(f"`{m}` as published {_span(of)}" for m, of in rivals.items())
    return Finding(
        f"the objective works as a membership test; numbers {NOT_AT_HAND}",
        f"AUC `loss_contrast` {_span(own)}, {others}",
        YES if ahead else NO,
        "The objective knows the base, the others do not. `mini-table1`",
    )


def _appendix_j(results: Path) -> Finding:
    cells = _columns(results, "cgidm", WITNESS)
    gains = [c["accuracy"]["per_concept"] - c["accuracy"]["in_sample"] for c in cells]
    return Finding(
        f"a threshold for each artist or subject; numbers {NOT_AT_HAND}",
        f"accuracy {_span(c['accuracy']['per_concept'] for c in cells)}, {_span(gains)} above one threshold for all",
        NO_NUMBER,
        "A threshold that is fitted to each concept flatters most. `mini-table1`",
    )


def _constant(theirs: str, ours: str, agrees: str, reason: str) -> Callable[[Path], Finding]:
    return lambda _: Finding(theirs, ours, agrees, reason)


FINDINGS: Mapping[str, Callable[[Path], Finding]] = {
    "Figure 1": _constant("a drawing", "the picture on the first page of these docs", NO_NUMBER, "nothing is measured"),
    "Figure 2": _constant("a drawing", "the page on the method", NO_NUMBER, "nothing is measured"),
    "Algorithm 1": _constant(
        "1000 steps of length 2, ball of 70", "`cgidm/method/recovery.py`", NO_NUMBER, "preset `paper`"
    ),
    "Table 1": _table1,
    "Table 2": _table2,
    "Table 3": _table3,
    "Figure 3a": _figure3a,
    "Figure 3b": _figure3b,
    "Figure 4": _figure4,
    "Table 4": _table4,
    "Table 6": _table6,
    "Appendix A": _constant(NOT_AT_HAND, "the page on verdicts", NO_NUMBER, "law, not a measurement"),
    "Appendix B": _constant(NOT_AT_HAND, "the page on the method", NO_NUMBER, "a derivation"),
    "Appendix C": _constant(NOT_AT_HAND, "none", NOT_RUN, "no method here inverts one model alone; no command runs it"),
    "Appendix D": _constant(NOT_AT_HAND, "`cgidm/method/recovery.py`", NO_NUMBER, "every recovery here is of latents"),
    "Appendix F": _appendix_f,
    "Appendix G": _appendix_g,
    "Appendix H": _constant(NOT_AT_HAND, "`eval/presets/paper-table1.json`", NO_NUMBER, "recipes are in every preset"),
    "Appendix I": _constant(NOT_AT_HAND, "`eval/results/bench/cpu.md`", NO_NUMBER, "`python -m eval bench`"),
    "Appendix J": _appendix_j,
}


# --- the tables of numbers ---


def _table1_numbers(results: Path) -> str:
    paper, rows = load_paper()["table1"], []
    for method in (*PIPELINES, "cgidm"):
        by = {m: _columns(results, method, m) for m in (EMBEDDER, WITNESS if method == "cgidm" else "removed_cosine")}
        for i, (dataset, training) in enumerate(PLACES):
            theirs = paper[dataset][training][method]
            row = [f"{theirs[m]['auc']:.2f}" for m in ("clip", "dino")]
            rows.append(
                [f"`{method}`", f"{dataset}, {training}", *row, *(f"{cells[i]['auc']:.3f}" for cells in by.values())]
            )
    heads = ["method", "suspects", "paper, CLIP", "paper, DINO", "ours, embedder", "ours, removed cells"]
    return "AUC.\n\n" + markdown_table(heads, rows)


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


def _curve_rows(results: Path) -> str:
    rows = [[steps, f"{auc:.3f}", f"{right:.3f}"] for steps, (auc, right) in _curve(results).items()]
    heads = ["steps of `reference`", "AUC, raw cosine", "accuracy, fitted"]
    return "The paper's text has no value.\n\n" + markdown_table(heads, rows)


def _mask_rows(results: Path) -> str:
    kinds = json.loads((results / "masks.json").read_text(encoding="utf-8"))["kinds"]
    rows = [
        [name.replace("_", " "), *(f"{row[k]:.3f}" for k in ("used", "unused", "AUC"))] for name, row in kinds.items()
    ]
    return markdown_table(["removed", "alignment, used", "alignment, unused", "AUC"], rows)


def _test_rows(results: Path) -> str:
    pairs = [(m, s) for m in ("loss_contrast", "secmi", "pia") for s in (("suspect",) if m != "loss_contrast" else ())]
    pairs = [("loss_contrast", "contrast"), *pairs, ("secmi", "contrast"), ("pia", "contrast")]
    rows = [[f"`{m}.{s}`", *(f"{c['auc']:.3f}" for c in _columns(results, m, s))] for m, s in pairs]
    return "AUC.\n\n" + markdown_table(["test", *(f"{d}, {t}" for d, t in PLACES)], rows)


def _threshold_rows(results: Path) -> str:
    kinds = {
        "one, of other concepts": "other_concepts",
        "one, fitted": "in_sample",
        "one for each concept": "per_concept",
    }
    cells = _columns(results, "cgidm", WITNESS)
    rows = [[name, *(f"{c['accuracy'][kind]:.3f}" for c in cells)] for name, kind in kinds.items()]
    return "Accuracy on the removed cells.\n\n" + markdown_table(["threshold", *(f"{d}, {t}" for d, t in PLACES)], rows)
