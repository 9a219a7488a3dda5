"""From the ledger's rows to the numbers of the benchmark, and from those to its tables.

`rows` is a table with the ledger's columns. A cell is one method and measure under one training on one dataset, at its
last evaluations. Everything is rounded and sorted, so that the same rows in any order give the same bytes.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import sklearn

from eval.analysis.comparison import compare
from eval.analysis.metrics import accuracy, auc_interval, auc_per_suspect, paired_win_rate, pooled_auc, tpr_at_fpr
from eval.analysis.table_rendering import AUC, FITTED, OTHERS, Cell, Entry, Summary, Table, natural, table1

DECISION = ["dataset", "role", "training", "suspect", "concept", "picture", "member"]
CELL = ["dataset", "role", "training", "method", "measure"]
PAPER = Path(__file__).parent / "paper.json"
FALSE_POSITIVES = (0.05, 0.01)
CONCEPTS_FOR_P = 5  # below, `eval.analysis.comparison` says not to quote a p-value
TEST = {"suspect", "contrast"}  # the measures of membership tests
RECOVERY = {"removed_gain", "removed_alignment"}  # CGI-DM alone has these
GENERATION = {"latent_cosine"}  # the pipelines alone have this
TOLD_GROUPS = "_group_max"  # a score that is told which pictures share a half: nothing to compare single pictures with
PRINTED = {"auc": "AUC", "accuracy": "accuracy, fitted", "says": "in words"}
OWN = ""  # in a pair of method and measure: the method of the table's row

__all__ = ["OWN", "factor_table", "last", "load_paper", "summarise", "table1", "wide"]


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """Each cell's rows at its last evaluations, sorted; ValueError if a decision stands twice in a cell."""
    at_end = rows["evaluations"] == rows.groupby(CELL)["evaluations"].transform("max")
    key = [*DECISION, "method", "measure"]
    table = rows.loc[at_end].sort_values(key, ignore_index=True)
    if (twice := table.duplicated(key)).any():
        first = ", ".join(map(str, table.loc[twice, key].iloc[0]))
        raise ValueError(f"{int(twice.sum())} decisions stand twice, such as {first}: do two settings share a name?")
    return table


def split(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """The parts of the table that agree in all `columns`, sorted by what stands there."""
    groups: Any = table.groupby(list(columns))
    return [(tuple(map(str, name)), part) for name, part in groups]


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each decision and a column METHOD.MEASURE for each score, to 6 significant digits; errors as `last`."""
    table = last(rows)
    named = table.assign(
        column=table["method"] + "." + table["measure"], score=[float(f"{s:.6g}") for s in table["score"]]
    )
    return named.pivot(index=DECISION, columns="column", values="score").reset_index().rename_axis(columns=None)


def summarise(rows: pd.DataFrame, reference: tuple[str, str] = ("cgidm", "removed_alignment")) -> Summary:
    """Every number that the tables show, ready for JSON; None where the design has no such number.

    "trained" holds the cells, each compared with the `reference` where both judged the same decisions. "chance" holds
    the suspects that know nothing of these pictures. "contests" holds, for each dataset and training, the best measure
    of every membership test and generation pipeline against CGI-DM's best one for single pictures. "left_out" names
    cells that cannot be measured, such as those with members only. ValueError as for `last`.
    """
    found: Summary = {"reference": ".".join(reference), "trained": [], "chance": [], "contests": [], "left_out": []}
    table = last(rows)
    # the metrics have checked what scikit-learn would check again, at half of the whole cost
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for (dataset, training), group in split(table.query("role == 'trained'"), ["dataset", "training"]):
            names = {"dataset": dataset, "training": training}
            cells = _cells(group, names, found["left_out"])
            found["trained"] += [names | _named(c) | _worth(t, c, cells.get(reference)) for c, t in cells.items()]
            entries = {(e["method"], e["measure"]): e for e in found["trained"] if names.items() <= e.items()}
            found["contests"] += [names | contest for contest in _contests(cells, entries)]
        for (dataset, role), group in split(table.query("role != 'trained'"), ["dataset", "role"]):
            names = {"dataset": dataset, "role": role}
            cells = _cells(group, names, found["left_out"])
            found["chance"] += [names | _named(c) | _chance(t) for c, t in cells.items()]
    return found


def load_paper() -> dict[str, Any]:
    """The paper's own numbers: "table1" by dataset, training, method and measure, the others by row and measure."""
    return json.loads(PAPER.read_text(encoding="utf-8"))


def factor_table(
    rows: pd.DataFrame,
    factor: Literal["training", "method", "dataset"],
    pairs: Sequence[tuple[str, str]],
    title: str,
    note: str = "",
    values: Sequence[str] | None = None,
    paper: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> Table:
    """What one thing does to the scores: a row for each of its values, AUC and accuracy for each method and measure.

    Where `factor` is "method", a pair's method is `OWN`. Where dataset or training vary besides, each combination has
    its row. `values` gives the rows' order and may ask for values that were not run, whose numbers stay empty; without
    it, all are shown. `paper` is a table of `load_paper`, its "rows": its numbers stand beside those of the same value.
    ValueError as for `last`.
    """
    methods = [OWN] * len(rows) if factor == "method" else rows["method"]
    wanted = [pair in pairs for pair in zip(methods, rows["measure"], strict=True)]
    entries = summarise(rows.loc[wanted].query("role == 'trained'"))["trained"]
    others = [d for d in ("dataset", "training") if d != factor and len({e[d] for e in entries}) > 1]
    found = {
        (e[factor], *(e[d] for d in others), OWN if factor == "method" else e["method"], e["measure"]): e
        for e in entries
    }
    order = list(values) if values is not None else sorted({e[factor] for e in entries}, key=natural)
    beside = sorted({tuple(e[d] for d in others) for e in entries}, key=lambda b: [natural(v) for v in b]) or [()]
    shown = (AUC, OTHERS, FITTED)
    printed = _printed(paper or {})
    heads = [factor, *others, *(f"{'.'.join(filter(None, p))}: {s.head}" for p in pairs for s in shown)]
    body = []
    for value, where in ((v, w) for v in order for w in beside):
        entry = [found.get((value, *where, *pair)) for pair in pairs]
        texts = [s.text(e) if e else "" for e in entry for s in shown]
        theirs = [_number((paper or {}).get(value, {}).get(measure, {}).get(key, "")) for measure, key in printed]
        body.append(tuple(map(Cell, (value, *where, *texts, *theirs))))
    heads += [f"paper, {measure}: {PRINTED[key]}" for measure, key in printed]
    return Table(title, note, tuple(heads), tuple(body))


def _printed(paper: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """The measures and kinds of number that the paper has anywhere in a table."""
    has = {(measure, key) for row in paper.values() for measure, numbers in row.items() for key in numbers}
    return sorted(has, key=lambda h: (h[0], list(PRINTED).index(h[1])))


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def _cells(table: pd.DataFrame, names: Entry, left_out: list[Entry]) -> dict[tuple[str, str], pd.DataFrame]:
    """The cells that can be measured, by method and measure; the others are entered in `left_out`."""
    cells = {}
    for (method, measure), cell in split(table, ["method", "measure"]):
        try:
            pooled_auc(cell)
        except ValueError as error:
            left_out.append({**names, "method": method, "measure": measure, "why": str(error)})
        else:
            cells[method, measure] = cell
    return cells


def _worth(table: pd.DataFrame, name: tuple[str, str], reference: pd.DataFrame | None) -> dict[str, Any]:
    is_reference = reference is table
    thresholds: tuple[Literal["other_concepts", "in_sample", "per_concept"], ...]
    thresholds = ("other_concepts", "in_sample", "per_concept")
    return _basics(table) | {
        "auc_per_suspect": _or_none(auc_per_suspect, table),
        "paired_win_rate": _or_none(paired_win_rate, table),
        "accuracy": {how: _or_none(lambda t, how=how: accuracy(t, how), table) for how in thresholds},
        "fitted_on_these_scores": ["in_sample", "per_concept"],
        "tpr": {f"{rate:.0%}": _or_none(lambda t, rate=rate: tpr_at_fpr(t, rate), table) for rate in FALSE_POSITIVES},
        "against_reference": None if is_reference or reference is None else _compared(table, reference),
    }


def _chance(table: pd.DataFrame) -> dict[str, Any]:
    basics = _basics(table)
    interval = basics["interval"]
    return basics | {"half_inside": None if interval is None else interval[0] <= 0.5 <= interval[1]}


def _basics(table: pd.DataFrame) -> dict[str, Any]:
    concepts, member = len(set(table["concept"])), table["member"].to_numpy()
    try:  # one concept drawn again and again has no spread; one with members only may not be drawn at all
        interval = [round(v, 3) for v in auc_interval(table)] if concepts > 1 else None
    except ValueError:
        interval = None
    return {
        "evaluations": int(table["evaluations"].iloc[0]),
        "members": int(member.sum()),
        "holdouts": int((1 - member).sum()),
        "concepts": concepts,
        "auc": round(pooled_auc(table), 4),
        "interval": interval,
    }


def _contests(cells: Mapping[tuple[str, str], pd.DataFrame], entries: Mapping[Any, Entry]) -> list[dict[str, Any]]:
    """The best measure of each rival against CGI-DM's best, both chosen on these very scores."""
    measures: dict[str, set[str]] = {}
    for method, measure in cells:
        measures.setdefault(method, set()).add(measure)

    def best(methods: Iterable[str]) -> tuple[str, str]:
        alone = [c for c in cells if c[0] in methods and not c[1].endswith(TOLD_GROUPS)]
        return max(alone, key=lambda c: (entries[c]["auc"], c))

    if not (ours := [m for m, has in measures.items() if has & RECOVERY]):
        return []
    champion = best(ours)
    contests = []
    for method, has in measures.items():
        kind = "test" if has <= TEST else "pipeline" if has & GENERATION else None
        if kind is not None:
            rival = best([method])
            verdict = _compared(cells[rival], cells[champion])
            contests.append({"kind": kind, **_named(rival), "cgidm": ".".join(champion), "verdict": verdict})
    return contests


def _compared(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any] | None:
    """How far `a` is ahead of `b`; None where they judged different decisions, or of one concept only."""
    try:
        result = compare(a, b)
    except ValueError:
        return None
    p_value = round(result.p_value, 4) if len(set(a["concept"])) >= CONCEPTS_FOR_P else None
    interval = [round(v, 3) for v in result.interval]
    return {"difference": round(result.difference, 4), "interval": interval, "p_value": p_value}


def _or_none(statistic: Callable[[pd.DataFrame], float | None], table: pd.DataFrame) -> float | None:
    """None where the design has no such number: not crossed, one concept alone, a suspect with members only."""
    try:
        value = statistic(table)
    except ValueError:
        return None
    return None if value is None else round(value, 4)


def _named(cell: tuple[str, str]) -> dict[str, str]:
    return {"method": cell[0], "measure": cell[1]}
