"""The error rates as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from cgidm.judging.power import Detectability


def rates_text(report: Mapping[str, Any]) -> str:
    """Markdown of what `rates.json` holds."""
    lines = ["# Error rates", "", f"`python -m eval rates {report['experiment']} --data DIR`", ""]
    lines += ["Single pictures, each judged against null models of other random splits of its maker's pictures.", ""]
    trainings = list(report["pictures"])
    lines += [_row(["", *trainings]), _row(["---"] * (1 + len(trainings)))]
    for name in ("concepts", "suspects"):
        lines.append(_row([name, *[str(report["pictures"][t][name]) for t in trainings]]))
    for name in (
        "p at or below the level",
        "called, holdouts",
        "called, members",
        "called, holdouts, against pictures of other makers",
    ):
        said = f"holdouts with p <= {report['pictures'][trainings[0]]['level']:g}" if name.startswith("p ") else name
        lines.append(_row([said, *[_share(report["pictures"][t][name]) for t in trainings]]))
    uniform = [report["pictures"][t]["uniformity"] for t in trainings]
    lines.append(
        _row(["null p-values uniform?", *[f"KS {u['statistic']:.3f}, p = {u['p_value']:.2f}" for u in uniform]])
    )
    worst = [report["pictures"][t]["worst concept"] for t in trainings]
    lines.append(_row(["worst concept", *[f"{w[0]:.0%} ({w[1]})" for w in worst]]))
    said = "Portfolios of ten pictures, a known share of which was used; both bounds together are to hold in 95 %."
    lines += ["", said, ""]
    heads = ["training", "used", "number inside the bounds", "set called", "mean width of the bounds"]
    lines += [_row(heads), _row(["---"] * len(heads))]
    for cell in report["portfolios"]:
        n = cell["repeats"]
        covered, called = f"{cell['covered']} of {n}", f"{cell['called']} of {n}"
        lines.append(_row([cell["training"], f"{cell['portion']:.0%}", covered, called, f"{cell['mean width']:.1f}"]))
    return "\n".join(lines) + "\n"


def power_text(
    table: Detectability, outcomes: Sequence[Mapping[str, Any]], experiments: Sequence[str], held_out: str | None
) -> str:
    """Markdown of the table of powers, and of what suspects of other makers are told by it."""
    more = f" --held-out {held_out}" if held_out else ""
    lines = ["# Power", "", f"`python -m eval power {' '.join(experiments)}{more} --data DIR`", ""]
    lines += [f"Share of used pictures found at {table.level:.0%} false positives, by how the suspect was trained.", ""]
    heads = ["training", "pictures", "presentations of each", "rank", "shift", "of the weights"]
    heads += ["found", "false positives", "of"]
    lines += [_row(heads), _row(["---"] * len(heads))]
    for r in table.rows:
        counts = [str(r.images), str(r.steps_per_picture), str(r.rank or "")]
        weights = "" if r.weight_shift is None else f"{r.weight_shift:.4f}"
        found = [f"{r.shift:.4f}", weights, f"{r.power:.0%}", f"{r.false_positives:.1%}", str(r.members)]
        lines.append(_row([r.kind, *counts, *found]))
    if outcomes:
        names = ["consistent with training on this image", "no evidence", "cannot tell"]
        lines += ["", "Suspects of makers that the table does not know (half of the pictures members):", ""]
        lines += [_row(["training", *names, "of"]), _row(["---"] * 5)]
        lines += [_row([o["training"], *[f"{o.get(n, 0):.0%}" for n in names], str(o["of"])]) for o in outcomes]
    return "\n".join(lines) + "\n"


def _share(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
