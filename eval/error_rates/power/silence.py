"""`python -m eval silence`: is what a suspect is said to show of its used pictures more than was counted?

No model is needed: the answers are the committed ones of `eval wild`, `eval mirror` and `eval rates`. The power of each
test under a suspect is foretold from its distance from the base. Neither the suspect's artist nor its kind of training
has entered what foretells it. Beside it stands what was counted under that suspect. A bank needs no table: its own
models foretell how many used pictures are found, by their residuals, and together with the mirror test.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from cgidm.files import write_atomically
from cgidm.judging.banks.residuals import residual
from cgidm.judging.tables.power import Kind, PowerCurve, PowerTable
from cgidm.judging.verdict import LEVEL, conformal_p_value
from eval.error_rates.banks.combined import read_all_mirror
from eval.error_rates.banks.residuals import (
    USUAL,
    Scored,
    judge_by_three,
    left_out_by_others,
    read_scores,
    residuals_among,
)
from eval.error_rates.banks.whole_banks import judge_by_both
from eval.error_rates.likelihood import DATASETS, TRAININGS
from eval.error_rates.power.curves import curves, mean_power
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table

WORST = 0.9  # quantile of foretold minus counted: the worst tenth lies above
# rows of `eval wild` of one training: judged without notes, or with an altered file
ALTERED = ("times 0.5", "times 2", "noise of 0.25 sd", "merged with another LoRA", "resized to rank 4", "50% filtered")
SAME_TRAINING = {
    **{"buckets, no notes": "buckets", "flips, no notes": "flips", "squares, no notes": "laboratory"},
    **dict.fromkeys((*ALTERED, "8 bits"), "laboratory"),
}
MIRRORED = "flips"  # the training that mirrored its pictures: where files do not note it, the mirror test is silent
Test = Literal["mirror", "controls", "bank", "both"]
TITLES: dict[Test, str] = {
    "mirror": "mirror test",
    "controls": "control test",
    "bank": "bank",
    "both": "bank and mirror test",
}
OF_BANKS = ("bank", "both")  # foretold by a bank's own models


@dataclass(frozen=True)
class Counted:
    """What one test found of the used pictures of one suspect.

    Attributes:
        test: one of `TITLES`.
        kind: of the suspect.
        training: how it was trained, or what was done to its file.
        artist: whose pictures they are; of a mixture, its name.
        distance: of the suspect from its base; in part the mean of its training.
        share: of used pictures that were found at `LEVEL`.
        pictures: how many that were.
        foretold: by a bank's own models; None where a table foretells.
        mixed: the artists of a mixture.
    """

    test: Test
    kind: Kind
    training: str
    artist: str
    distance: float
    share: float
    pictures: int
    foretold: float | None = None
    mixed: frozenset[str] = frozenset()

    @property
    def artists(self) -> frozenset[str]:
        """Everybody whose pictures the suspect learnt."""
        return self.mixed or frozenset((self.artist,))


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    (table,) = [PowerTable.model_validate(t) for t in json.loads(o.power.read_text())]
    counted = read_counted(o.results, table)
    report = rounded(
        {
            "level": LEVEL,
            "tests": [summary(counted, test, table) for test in TITLES],
            "curves": [c.model_dump() for c in curves_of(counted)],
        }
    )
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "silence.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "silence.md").write_text(silence_text(report))
    if o.table:
        found = tuple(PowerCurve.model_validate(c) for c in report["curves"])
        whole = table.model_copy(update={"curves": found})
        write_atomically(o.power, json.dumps([whole.model_dump()], indent=1) + "\n")
    print(silence_text(report), end="")


def read_counted(results: Path, table: PowerTable) -> list[Counted]:
    """Everything that was counted: of the mirror test, of the control test, of banks."""
    wild = {
        row["suspects"]: row["distance"] for row in json.loads((results / "wild" / "wild.json").read_text())["rows"]
    }
    adapters = {training: wild[row] for training, row in TRAININGS.items()}
    (strong,) = [r for r in table.rows if (r.kind, r.images, r.steps_per_picture) == ("dreambooth", 10, 30)]
    distances = {**adapters, "dreambooth": strong.distance_from_base}
    mirror = list(_read_mirror(results / "mirror" / "decisions.csv", distances))
    known = {(c.training, c.artist) for c in mirror}  # the same suspects, at their mean distance
    rows = [c for c in _read_wild(results / "wild" / "answers.csv") if (c.training, c.artist) not in known]
    return [*rows, *mirror, *_read_rates(results, distances), *_read_both(results, distances)]


def _kind(training: str) -> Kind:
    return "dreambooth" if training == "dreambooth" else "lora"


def _read_wild(path: Path) -> Iterator[Counted]:
    """One suspect of each artist and row. A mixture's pictures are by several artists; it counts as one."""
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["member"] == "1" and r["row"] != MIRRORED]
    suspects: dict[tuple[str, str, str], list[bool]] = {}
    mixtures = {r["row"] for r in rows if "mixture" in r["row"]}
    mixed = {row: frozenset(r["artist"] for r in rows if r["row"] == row) for row in mixtures}
    for r in rows:
        artist = r["row"] if r["row"] in mixed else r["artist"]
        called = bool(r["p_value"]) and float(r["p_value"]) <= LEVEL
        suspects.setdefault((r["row"], artist, r["distance"]), []).append(called)
    for (row, artist, distance), called in suspects.items():
        others = mixed.get(row, frozenset())
        yield Counted("mirror", "lora", row, artist, float(distance), fmean(called), len(called), mixed=others)


def _read_mirror(path: Path, distances: Mapping[str, float]) -> Iterator[Counted]:
    """Suspects of `eval mirror`, at the mean distance of their training."""
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["member"] == "1" and r["training"] in distances]
    groups: dict[tuple[str, str, str], list[bool]] = {}
    for r in rows:
        if r["suspect"].split("-")[0] in DATASETS:
            suspect = r["training"], r["artist"], r["suspect"]
            groups.setdefault(suspect, []).append(float(r["p_value"]) <= LEVEL)
    for (training, artist, _), called in groups.items():
        row = TRAININGS.get(training, training)
        yield Counted("mirror", _kind(training), row, artist, distances[training], fmean(called), len(called))


def _read_rates(results: Path, distances: Mapping[str, float]) -> Iterator[Counted]:
    """Suspects of `eval rates`: their scores among pictures that models of the other split left out, and by a bank."""
    scores = [s for name in USUAL for s in read_scores(results / name / "decisions.csv")]
    for training, artist in dict.fromkeys((s.training, s.artist) for s in scores):
        works = [s for s in scores if (s.training, s.artist) == (training, artist)]
        row, kind, at = TRAININGS.get(training, training), _kind(training), distances[training]
        by_bank = [j for j in judge_by_three(works) if j.ranking.startswith("residuals") and j.scored.member]
        for suspect in dict.fromkeys(s.suspect for s in works):
            called = [_is_called(s, works) for s in works if s.member and s.suspect == suspect]
            found = [j.p_value <= LEVEL and j.scored.score > 0 for j in by_bank if j.scored.suspect == suspect]
            yield Counted("controls", kind, row, artist, at, fmean(called), len(called))
            yield Counted("bank", kind, row, artist, at, fmean(found), len(found), foretell_by_bank(works, suspect))


def _read_both(results: Path, distances: Mapping[str, float]) -> Iterator[Counted]:
    """Suspects that a bank of three judged by both tests, and what that bank foretells."""
    scores = [s for name in USUAL for s in read_scores(results / name / "decisions.csv")]
    mirror = read_all_mirror()["three models"]
    for found in judge_by_both(scores, mirror):
        kind, row = _kind(found.training), TRAININGS.get(found.training, found.training)
        facts = (row, found.artist, distances[found.training])
        yield Counted("both", kind, *facts, fmean(found.called), len(found.called), found.foretold)


def _is_called(scored: Scored, works: Sequence[Scored]) -> bool:
    """The control test, as `eval rates` asks it."""
    nulls = [s.score for s in works if s.split != scored.split and not s.member]
    return conformal_p_value(scored.score, nulls) <= LEVEL and scored.score > 0


def foretell_by_bank(works: Sequence[Scored], suspect: str) -> float:
    """The share of used pictures that the other models of an artist foretell, as `residuals.bank_power` does.

    Args:
        works: scores of one artist and training.
        suspect: that is judged; it is none of the bank's models.
    """
    left_out = {f: [s.score for s in found] for f, found in left_out_by_others(works, suspect).items()}
    nulls = residuals_among(left_out)
    members = [s for s in works if s.suspect != suspect and s.member and left_out.get(s.file)]
    found = [(s.score > 0, residual(s.score, left_out[s.file])) for s in members]
    return fmean(learnt and r > 0 and conformal_p_value(r, nulls) <= LEVEL for learnt, r in found)


def curves_of(counted: Sequence[Counted]) -> list[PowerCurve]:
    """What verdicts look up, of everything that was counted but trainings that mirrored their pictures."""
    used = [c for c in counted if family(c.training) != MIRRORED]
    return curves([(c.test, c.kind, c.training, c.distance, c.share) for c in used if c.test not in OF_BANKS])


def family(training: str) -> str:
    """The training of a row."""
    return SAME_TRAINING.get(training, training)


def foretold(counted: Sequence[Counted], test: Test) -> list[tuple[Counted, float | None]]:
    """What is foretold of each suspect, by curves without its artist and its training."""
    found: list[tuple[Counted, float | None]] = []
    for c in (c for c in counted if c.test == test):
        if c.foretold is not None:
            found.append((c, c.foretold))
            continue
        others = [d for d in counted if not d.artists & c.artists and family(d.training) != family(c.training)]
        curve = next((k for k in curves_of(others) if (k.test, k.kind) == (c.test, c.kind)), None)
        found.append((c, None if curve is None else curve.share(c.distance)))
    return found


def summary(counted: Sequence[Counted], test: Test, table: PowerTable) -> dict[str, Any]:
    """Foretold minus counted: of all suspects of a test, and of each training."""
    rows = foretold(counted, test)
    honest = [(c, p) for c, p in rows if p is not None and family(c.training) != MIRRORED]
    by_mean = [(c.share, mean_power(table, c.distance, c.kind)) for c, _ in honest]
    return {
        "test": test,
        **_differences([(c.share, p) for c, p in honest]),
        "unknown": sum(p is None for _, p in rows),
        "by mean power": None if test in OF_BANKS else _differences(by_mean),
        "trainings": [
            {
                "training": training,
                "kind": of[0][0].kind,
                "distance": fmean(c.distance for c, _ in of),
                **_differences([(c.share, p) for c, p in of if p is not None]),
                "unknown": sum(p is None for _, p in of),
            }
            for training in dict.fromkeys(c.training for c, _ in rows)
            for of in [[(c, p) for c, p in rows if c.training == training]]
        ],
    }


def _differences(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Of pairs of a counted and a foretold share."""
    if not pairs:
        return {"of": 0}
    differences = [p - share for share, p in pairs]
    return {
        "of": len(pairs),
        "counted": fmean(share for share, _ in pairs),
        "foretold": fmean(p for _, p in pairs),
        "difference": fmean(differences),
        "worst tenth": float(np.quantile(differences, WORST)),
        "above": fmean(d > 0 for d in differences),
    }


def silence_text(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    parts = [
        "# What silence is worth",
        "`python -m eval silence`. Shares of used pictures that are found, foretold and counted. What foretells has "
        "seen neither the artist nor the training.",
        silence_table(report),
    ]
    for test in report["tests"]:
        parts += [f"## {TITLES[test['test']].capitalize()}", trainings_table(test)]
    return "\n\n".join(parts) + "\n"


def silence_table(report: Mapping[str, Any]) -> str:
    """A row for each test, and what the means over trainings would foretell; the docs show it, too."""
    columns = ["test", "foretold by", "suspects", "counted", "foretold", "difference, mean", "worst tenth above"]
    by: dict[str, str] = dict.fromkeys(OF_BANKS, "its own models")
    rows = []
    for test in report["tests"]:
        rows.append([TITLES[test["test"]], by.get(test["test"], "all but few suspects"), *_cells(test)])
        if test["by mean power"] is not None:
            rows.append(["", "the mean of its trainings", *_cells(test["by mean power"])])
    return markdown_table(columns, rows, spaced=True)


def trainings_table(test: Mapping[str, Any]) -> str:
    """A row for each training of a test."""
    columns = ["training", "distance from base", "suspects", "counted", "foretold", "difference, mean"]
    rows = [
        [r["training"], f"{r['distance']:.3f}", *(_cells(r)[:-1] if r["of"] else [r["unknown"], "", "not known", ""])]
        for r in test["trainings"]
    ]
    return markdown_table([*columns], rows, spaced=True)


def curves_table(report: Mapping[str, Any]) -> str:
    """What verdicts look up: a row for each distance at which a share rises."""
    kinds = {"lora": "LoRA", "dreambooth": "full network"}
    rows = []
    for curve in report["curves"]:
        known = list(zip(curve["distances"], curve["shares"], strict=True))
        rising = [known[0], *(b for a, b in pairwise(known) if b[1] > a[1])]
        rows += [[TITLES[curve["test"]], kinds[curve["kind"]], f"{at:.4f}", f"{100 * s:.0f} %"] for at, s in rising]
    columns = ["test", "suspect", "distance from base, at least", "used pictures found, at least"]
    return markdown_table(columns, rows, spaced=True)


def _cells(found: Mapping[str, Any]) -> list[object]:
    shares = [f"{100 * found[name]:.0f} %" for name in ("counted", "foretold")]
    return [found["of"], *shares, *(f"{100 * found[name]:+.0f}" for name in ("difference", "worst tenth"))]
