"""Scores in, rates and tables out; no model is needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from cgidm.judging.mirror_test import MirrorTable
from eval.error_rates.mirror_rates import LEVELS, RESAMPLES, decide, decide_sets, summarise
from eval.error_rates.mirror_scores import MirrorScores
from eval.flow_power.scores import DRAWS
from eval.flow_power.suspects import Artist
from eval.markdown import markdown_table

RATES = [f"{what}, {level:.0%}" for level in LEVELS for what in ("false calls", "power")]
TESTS = {"mirror": "mirror test", "contrast": "contrast"}  # as in the scores: its name in the tables


@dataclass(frozen=True)
class Scored:
    """What was measured of one suspect.

    Attributes:
        artist: whose pictures they are.
        dose: presentations of each picture.
        kind: "tests", or the name of a method.
        values: the scores.
    """

    artist: Artist
    dose: int
    kind: str
    values: Mapping[str, Any]

    @property
    def for_mirror(self) -> MirrorScores:
        """What the mirror test's rates are counted from."""
        a = self.artist
        more = {"dataset": a.dataset, "concept": a.name, "half": a.half, "training": str(self.dose)}
        return MirrorScores(**more, files=a.files, member=a.member, scores=tuple(self.values["mirror"]))


def count(found: Sequence[Scored], table: MirrorTable) -> dict[str, Any]:
    """Count all that the tables show. AUCs are means over suspects, each of its members against its holdouts."""
    tests = [s for s in found if s.kind == "tests"]
    doses = {n: [s for s in tests if s.dose == n] for n in sorted({s.dose for s in tests})}
    return {
        "artists": [f"{a.dataset}/{a.name}" for a in dict.fromkeys(s.artist for s in found)],
        "null scores": sum(len(g.scores) for g in table.groups),
        "doses": [_count_dose(n, some, table) for n, some in doses.items()],
        "methods": _count_methods([s for s in found if s.kind != "tests"], doses),
    }


def mean_area(found: Sequence[tuple[Sequence[int], Sequence[float]]]) -> dict[str, Any]:
    """The mean AUC over suspects with a 95 % bootstrap interval over them, and the worst one's."""
    areas = np.array([float(roc_auc_score(member, scores)) for member, scores in found])
    drawn = np.random.default_rng(0).integers(len(areas), size=(RESAMPLES, len(areas)))
    low, high = np.quantile(areas[drawn].mean(1), [0.025, 0.975])
    return {"AUC": float(areas.mean()), "interval": [float(low), float(high)], "worst": float(areas.min())}


def _count_dose(dose: int, some: Sequence[Scored], table: MirrorTable) -> dict[str, Any]:
    mirror = [s.for_mirror for s in some]
    rates = summarise(decide(mirror, table.groups), list(decide_sets(mirror, table.groups)))
    parts = range(len(some[0].values["mirror by t"]))

    def at(name: str, part: int) -> list[tuple[Sequence[int], Sequence[float]]]:
        return [(s.artist.member, s.values[f"{name} by t"][part]) for s in some]

    return {
        "presentations": dose,
        **{name: mean_area([(s.artist.member, s.values[name]) for s in some]) for name in TESTS},
        "rates": {k: rates[k] for k in ("pictures", "sets of ten")},
        "by t": {
            **{name: [mean_area(at(name, part))["AUC"] for part in parts] for name in TESTS},
            "gap": [fmean(_gap(*one) for one in at("contrast", part)) for part in parts],
        },
    }


def _gap(member: Sequence[int], scores: Sequence[float]) -> float:
    """How much higher members lie than holdouts, on average."""
    used, unused = ([x for x, m in zip(scores, member, strict=True) if m == role] for role in (1, 0))
    return fmean(used) - fmean(unused)


def _count_methods(some: Sequence[Scored], tests: Mapping[int, Sequence[Scored]]) -> dict[str, Any] | None:
    """The methods' AUC at their dose, beside those of the tests at the same."""
    if not some:
        return None
    ((dose,), kinds) = {s.dose for s in some}, dict.fromkeys(s.kind for s in some)
    rows = []
    for kind in kinds:
        of_kind = [s for s in some if s.kind == kind]
        for measure, answer in of_kind[0].values.items():
            area = mean_area([(s.artist.member, s.values[measure]["scores"]) for s in of_kind])
            rows.append({"method": kind, "measure": measure, "evaluations": answer["evaluations"], **area})
    for name, evaluations in (("contrast", 2 * DRAWS), ("mirror", 4 * DRAWS)):
        area = mean_area([(s.artist.member, s.values[name]) for s in tests[dose]])
        rows.append({"method": TESTS[name], "measure": name, "evaluations": evaluations, **area})
    return {"presentations": dose, "rows": sorted(rows, key=lambda row: -row["AUC"])}


def report_text(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    return f"Power on the embedded flow model: `python -m eval flow-power --data DIR`.\n\n{power_tables(report)}"


def power_tables(report: Mapping[str, Any]) -> str:
    """Power against presentations at two levels, the AUC by t, other methods. The docs show them, too."""
    doses = report["doses"]
    names = ", ".join(artist.partition("/")[2] for artist in report["artists"])
    return (
        "\n\n".join(
            [
                f"AUC of members against holdouts, mean over {len(report['artists'])} artists:\n{names}.\n"
                "In brackets: bootstrap over artists, 95 %.",
                markdown_table(
                    ("presentations", "contrast", "mirror test"),
                    [[d["presentations"], _area(d["contrast"]), _area(d["mirror"])] for d in doses],
                ),
                f"The mirror test against the {report['null scores']} null scores that ship:",
                markdown_table(("presentations", "judged", *RATES), _rates(doses)),
                "AUC in each sixth of t (0: the picture, 1: noise). Gap: how much more the suspect gains on members\n"
                "than on holdouts, as a share of the most.",
                markdown_table(("presentations", "score", *_parts(doses[0])), _rows_by_t(doses)),
                *_methods_tables(report["methods"]),
            ]
        )
        + "\n"
    )


def _rates(doses: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    rows = []
    for kind in ("pictures", "sets of ten"):
        for d in doses:
            levels = [rate[what] for rate in d["rates"][kind] for what in ("false calls", "power")]
            rows.append([d["presentations"], kind, *map(_share, levels)])
    return rows


def _rows_by_t(doses: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    rows = []
    for d in doses:
        part = d["by t"]
        rows += [[d["presentations"], name, *(f"{area:.2f}" for area in part[key])] for key, name in TESTS.items()]
        largest = max(part["gap"])
        rows.append([d["presentations"], "gap of the contrast", *(f"{gap / largest:.2f}" for gap in part["gap"])])
    return rows


def _parts(dose: Mapping[str, Any]) -> list[str]:
    count = len(dose["by t"]["gap"])
    return [f"{i / count:.2f} to {(i + 1) / count:.2f}" for i in range(count)]


def _methods_tables(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    rows = [[r["method"], r["measure"], _area(r), f"{r['worst']:.2f}", r["evaluations"]] for r in found["rows"]]
    head = ("method", "measure", "AUC", "worst artist", "evaluations a picture")
    about = f"Other methods, after {found['presentations']} presentations, on the same pictures:"
    return [about, markdown_table(head, rows)]


def _area(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['AUC']:.3f} ({low:.3f} to {high:.3f})"


def _share(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['share']:.0%} ({found['count']} of {found['of']}; {low:.0%} to {high:.0%})"
