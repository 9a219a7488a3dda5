"""Tables of numbers: Table 1 laid out from a summary, and a table's three spellings, Markdown, LaTeX and CSV.

All spellings come from one `Table`, so they cannot disagree.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.markdown import markdown_table

CODE = re.compile(r"`([^`]*)`")
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
} | {character: f"\\{character}" for character in "&%$#_{}"}

SIGNIFICANT = 0.05
SMALL = "n too small"
METHODS = ("text2img", "ddnm", "img2img", "cgidm")  # the order of the paper's Table 1; others follow by name
TRAININGS = ("dreambooth-prior", "dreambooth", "lora")
KNOWN = ("wikiart", "trained", "unrelated", "innocent", *METHODS, *TRAININGS)

Entry = Mapping[str, Any]  # one item of a summary's lists
Summary = dict[str, Any]  # of `eval.analysis.tables.summarise`


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table. A name between `backticks` is set as code, here and in titles and notes."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table as it is to be read; ValueError unless every row is as long as the columns are many."""

    title: str
    note: str  # sentences that stand under it, one a line
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        if wrong := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"A row has {len(wrong[0])} cells and not {len(self.columns)}: {wrong[0][0].text}, ...")


@dataclass(frozen=True)
class Column:
    """A number of a summary as a column of a table; `missing` where the summary has None."""

    head: str
    value: Callable[[Entry], float | None]
    style: Callable[[float], str]
    detail: Callable[[Entry], str] = lambda entry: ""
    paper: str = ""  # which of the paper's numbers was measured in the same way
    missing: str = ""

    def text(self, entry: Entry) -> str:
        """An entry's number as the table shows it."""
        value = self.value(entry)
        return self.missing if value is None else self.style(value) + self.detail(entry)


def _interval(entry: Entry) -> str:
    return "" if entry["interval"] is None else " ({:.2f} to {:.2f})".format(*entry["interval"])


def _chance_detail(entry: Entry) -> str:
    """One digit more than elsewhere: on which side of 0.5 an end lies must be seen."""
    interval = "" if entry["interval"] is None else " ({:.3f} to {:.3f})".format(*entry["interval"])
    return interval + (", not 0.5" if entry["half_inside"] is False else "")


def _lead_detail(entry: Entry) -> str:
    p_value = entry["against_reference"]["p_value"]
    return "" if p_value is None else f" (p = {p_value:.2g})"


AUC = Column("AUC (95 %)", lambda e: e["auc"], "{:.3f}".format, _interval, "auc")
CHANCE = Column("AUC (95 %)", lambda e: e["auc"], "{:.3f}".format, _chance_detail)
PAIRED = Column("paired", lambda e: e["paired_win_rate"], "{:.0%}".format)
PER_SUSPECT = Column("AUC per suspect", lambda e: e["auc_per_suspect"], "{:.3f}".format)
OTHERS = Column("accuracy", lambda e: e["accuracy"]["other_concepts"], "{:.3f}".format)
FITTED = Column("accuracy, fitted", lambda e: e["accuracy"]["in_sample"], "{:.3f}".format, paper="accuracy")

TPR = tuple(Column(f"TPR at {r} FPR", lambda e, r=r: e["tpr"][r], "{:.0%}".format, missing=SMALL) for r in ("5%", "1%"))
PER_CONCEPT = Column("accuracy, fitted to each concept", lambda e: e["accuracy"]["per_concept"], "{:.3f}".format)
LEAD = Column("lead", lambda e: (e["against_reference"] or {}).get("difference"), "{:+.3f}".format, _lead_detail)


def table1(summary: Summary, paper: Mapping[str, Any], budget_note: str) -> tuple[Table, ...]:
    """The paper's Table 1 in four blocks: AUC, thresholds, the suspects that must sit at 0.5, and small rates.

    `paper` is that of `eval.analysis.tables.load_paper`; its numbers stand in rows of their own below a method's.
    """
    theirs = paper["table1"]
    where = (
        'Rows marked "paper" are the paper\'s own numbers (SD 1.4, similarity by CLIP or DINO, one-sided splits, '
        "100 pictures generated for each by the pipelines): other models and measures than the rows above them."
    )
    auc_note = [
        budget_note,
        "AUC: one threshold for all suspects; 95 %: concepts drawn with replacement. Paired: how often a picture "
        "scores higher as a member than the same picture as a holdout; empty where the design is one-sided.",
        "Bold: the best of a column. Measures that end in `_group_max` are told which pictures share a half, so they "
        "are left out where CGI-DM's best score is compared. Best measures are chosen on these scores, for both "
        "sides, and p is not corrected for the number of comparisons.",
        where,
        *contest_sentences(summary),
        *(f"Left out: {'.'.join(v for k, v in e.items() if k != 'why')}. {e['why']}" for e in summary["left_out"]),
    ]
    accuracy_note = [
        "AUC per suspect: a threshold of its own for every suspect. Accuracy: threshold fitted on the other concepts. "
        'Accuracy, fitted: on the very scores that are reported, as the paper does; an upper bound. Bold and "paper" '
        "as above.",
    ]
    chance_note = [
        "These suspects know nothing of the pictures, so 0.5 must lie in the interval; where it does not, the score "
        "has found something else than training, or luck has: even good 95 % intervals miss 1 time in 20, and those "
        "from few concepts more often.",
    ]
    rest_note = [
        f"Lead: AUC less that of `{summary['reference']}` on the same decisions; p by concepts drawn with replacement, "
        "and none below 5 concepts. TPR: share of members found at that false-positive rate, threshold fitted on these "
        "scores; `n too small` where fewer than 10 false positives are possible. Accuracy, fitted to each concept: the "
        "paper's Appendix J, which flatters most.",
    ]
    trained, chance = summary["trained"], summary["chance"]
    return (
        _block("Members against holdouts", auc_note, trained, "training", (AUC, PAIRED), theirs),
        _block("Thresholds", accuracy_note, trained, "training", (PER_SUSPECT, OTHERS, FITTED), theirs),
        _block("Suspects that must sit at 0.5", chance_note, chance, "role", (CHANCE,), {}),
        _block("Small rates and leads", rest_note, trained, "training", (*TPR, PER_CONCEPT, LEAD), {}),
    )


def contest_sentences(summary: Summary) -> list[str]:
    """Where a membership test is ahead of CGI-DM, and where CGI-DM does not beat a generation pipeline."""
    sentences = []
    for c in sorted(summary["contests"], key=lambda c: natural([c["dataset"], c["training"], c["method"]])):
        rival, champion = f"`{c['method']}.{c['measure']}`", f"CGI-DM's best score (`{c['cgidm']}`)"
        place, verdict = f"in {c['dataset']}/{c['training']}", c["verdict"]
        if verdict is None:
            sentences.append(f"{rival} was not compared with {champion} {place}: other decisions, or one concept only.")
            continue
        ahead, p = verdict["difference"], verdict["p_value"]
        sure = p is not None and p < SIGNIFICANT
        quoted = "too few concepts for a p-value" if p is None else f"p = {p:.2g}"
        if c["kind"] == "test" and ahead > 0:
            verb = "beats" if sure else "is ahead of"
            doubt = "" if sure else ", which may be chance"
            sentences.append(f"{rival} {verb} {champion} by {ahead:+.3f} ({quoted}) {place}{doubt}.")
        elif c["kind"] == "pipeline" and not (ahead < 0 and sure):
            sentences.append(f"{champion} does not beat {rival} {place}: difference {-ahead:+.3f} ({quoted}).")
    return sentences


def _block(
    title: str,
    note: Sequence[str],
    entries: Sequence[Entry],
    across: str,
    columns: Sequence[Column],
    paper: Mapping[str, Any],
) -> Table:
    """A row for each method and measure, `columns` for each dataset and value of `across`."""
    found = {((e["dataset"], e[across]), (e["method"], e["measure"])): e for e in entries}
    places = sorted({place for place, _ in found}, key=natural)
    body = []
    best = {
        (place, s): _best(s, (e for at, e in zip(found, entries, strict=True) if at[0] == place))
        for place in places
        for s in columns
    }
    names = sorted({name for _, name in found}, key=natural)
    for i, name in enumerate(names):
        of = {place: found[place, name] for place in places if (place, name) in found}
        cells = [
            Cell(s.text(of[p]), s.value(of[p]) == best[p, s] is not None and across == "training")
            if p in of
            else Cell("")
            for p in places
            for s in columns
        ]
        body.append((Cell(f"`{name[0]}`"), Cell(f"`{name[1]}`"), Cell(_evaluations(of.values())), *cells))
        if i + 1 == len(names) or names[i + 1][0] != name[0]:
            body += _paper_rows(name[0], places, columns, paper)
    heads = (f"{dataset}, {value}: {s.head}" for dataset, value in places for s in columns)
    return Table(title, "\n".join(filter(None, note)), ("method", "measure", "evaluations", *heads), tuple(body))


def _paper_rows(method: str, places: Sequence[Any], columns: Sequence[Column], paper: Mapping[str, Any]) -> list[Any]:
    """The paper's numbers for a method, a row for each measure; none where it has none for these places."""
    theirs = {p: paper.get(p[0], {}).get(p[1], {}).get(method, {}) for p in places}
    rows = []
    for measure in sorted({m for by_measure in theirs.values() for m in by_measure}):
        numbers = [theirs[p].get(measure, {}).get(s.paper) for p in places for s in columns]
        cells = (Cell("" if v is None else f"{v:.2f}") for v in numbers)
        rows.append((Cell(f"`{method}`"), Cell(f"paper: SD 1.4, {measure.upper()}"), Cell(""), *cells))
    return rows


def _best(column: Column, entries: Iterable[Entry]) -> float | None:
    return max((v for e in entries if (v := column.value(e)) is not None), default=None)


def _evaluations(entries: Iterable[Entry]) -> str:
    counts = sorted({e["evaluations"] for e in entries})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def natural(name: str | Iterable[str]) -> list[Any]:
    """A key to sort by: the paper's names in its order, then others, in which 20 comes before 100."""
    if not isinstance(name, str):
        return [natural(part) for part in name]
    known = KNOWN.index(name) if name in KNOWN else len(KNOWN)
    return [
        known,
        [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)],
    ]


def markdown(table: Table) -> str:
    """The table with its title as a heading of the second level and its note as a list."""
    rows = [[f"**{c.text}**" if c.bold else c.text for c in row] for row in table.rows]
    lines = [f"## {table.title}", "", markdown_table(table.columns, rows)]
    notes = [f"- {sentence}" for sentence in table.note.splitlines()]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def latex(table: Table) -> str:
    """The table as a float. Needs the packages booktabs and graphicx, and T1 fonts for the quotation marks."""
    rows = [[f"\\textbf{{{_in_latex(c.text)}}}" if c.bold else _in_latex(c.text) for c in row] for row in table.rows]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_in_latex(table.title)}}}"]
    lines += [r"\resizebox{\linewidth}{!}{%", rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\toprule"]
    lines += [" & ".join(map(_in_latex, table.columns)) + r" \\", r"\midrule"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\footnotesize {_in_latex(sentence)}" for sentence in table.note.splitlines()]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def comma_separated(table: Table) -> str:
    """Columns and cells as RFC 4180 has them; the title, the note and what is bold have no place there."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_plain, table.columns))
    writer.writerows([_plain(c.text) for c in row] for row in table.rows)
    return out.getvalue()


def write_tables(tables: Sequence[Table], out: Path, name: str) -> None:
    """Write `name`.md and `name`.tex with all tables, and a CSV file for each: `name`.csv, `name`-2.csv, ..."""
    out.mkdir(parents=True, exist_ok=True)
    spellings: tuple[tuple[str, Callable[[Table], str]], ...] = (("md", markdown), ("tex", latex))
    for ending, spell in spellings:
        (out / f"{name}.{ending}").write_text("\n".join(map(spell, tables)), encoding="utf-8")
    for i, table in enumerate(tables, 1):
        (out / f"{name}{f'-{i}' if i > 1 else ''}.csv").write_text(comma_separated(table), encoding="utf-8")


def _in_latex(text: str) -> str:
    """Every special character escaped; what stood between backticks in a typewriter face."""
    parts = ("".join(LATEX.get(c, c) for c in part) for part in CODE.split(text))
    return "".join(rf"\texttt{{{part}}}" if i % 2 else part for i, part in enumerate(parts))


def _plain(text: str) -> str:
    return CODE.sub(r"\1", text)
