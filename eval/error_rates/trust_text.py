"""The error rates and the power of verdicts as Markdown pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from cgidm.judging.tables.power import PowerTable
from eval.markdown import markdown_table

SHARES = {  # key of `rates.json` -> head of the row
    "p at or below the level": "holdouts with p <= {level:g}",
    "called, holdouts": "called, holdouts",
    "called, members": "called, members",
    "called, holdouts, against pictures of other makers": "called, holdouts, against pictures of other makers",
}


def rates_text(report: Mapping[str, Any]) -> str:
    """Return `rates.json` as Markdown."""
    trainings, found = list(report["pictures"]), list(report["pictures"].values())
    rows = [[name, *(f[name] for f in found)] for name in ("concepts", "suspects")]
    rows += [[head.format(level=found[0]["level"]), *(_share(f[name]) for f in found)] for name, head in SHARES.items()]
    uniform = [f["uniformity"] for f in found]
    rows.append(["null p-values uniform?", *(f"KS {u['statistic']:.3f}, p = {u['p_value']:.2f}" for u in uniform)])
    rows.append(["worst concept", *(f"{share:.0%} ({name})" for share, name in (f["worst concept"] for f in found))])
    sets = [
        [
            cell["training"],
            f"{cell['portion']:.0%}",
            f"{cell['covered']} of {cell['repeats']}",
            f"{cell['called']} of {cell['repeats']}",
            f"{cell['mean width']:.1f}",
        ]
        for cell in report["portfolios"]
    ]
    columns = ["training", "used", "number inside the bounds", "set called", "mean width of the bounds"]
    return _page(
        "# Error rates",
        f"`python -m eval rates {report['experiment']} --data DIR`",
        "Single pictures, each judged against null models of other random splits of its maker's pictures.",
        markdown_table(["", *trainings], rows, spaced=True),
        "Portfolios of ten pictures, a known share of which was used; both bounds together are to hold in 95 %.",
        markdown_table(columns, sets, spaced=True),
    )


def power_text(
    table: PowerTable, outcomes: Sequence[Mapping[str, Any]], experiments: Sequence[str], held_out: str | None
) -> str:
    """Return the table of powers as Markdown, with the outcomes for suspects of other artists."""
    more = f" --held-out {held_out}" if held_out else ""
    columns = ["training", "pictures", "presentations of each", "rank", "shift", "of the weights"]
    rows = [
        [
            *(r.kind, r.images, r.steps_per_picture, r.rank or ""),
            f"{r.prediction_distance:.4f}",
            "" if r.weight_distance is None else f"{r.weight_distance:.4f}",
            f"{r.power:.0%}",
            f"{r.false_positives:.1%}",
            r.members,
        ]
        for r in table.rows
    ]
    parts = [
        "# Power",
        f"`python -m eval power {' '.join(experiments)}{more} --data DIR`",
        f"Share of used pictures found at {table.level:.0%} false positives, by how the suspect was trained.",
        markdown_table([*columns, "found", "false positives", "of"], rows, spaced=True),
    ]
    if outcomes:
        names = ["consistent with training on this image", "weak evidence", "no evidence", "cannot tell"]
        shares = [[o["training"], *(f"{o.get(n, 0):.0%}" for n in names), o["of"]] for o in outcomes]
        parts.append("Suspects of makers that the table does not know (half of the pictures members):")
        parts.append(markdown_table(["training", *names, "of"], shares, spaced=True))
    return _page(*parts)


def _page(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def _share(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
