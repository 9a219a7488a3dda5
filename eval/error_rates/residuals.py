"""`python -m eval residuals`: what a picture's own difficulty does to a bank's verdict, and what residuals make of it.

It reads the scores of `eval rates`, whose suspects come in two random splits of each artist's pictures. One suspect is
in question; the other models of the artist are its bank. A bank of three has its own null residuals. Two models leave
each picture out once; they are compared with the residuals of *other* artists.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from cgidm.judging.residuals import residual
from cgidm.judging.verdict import LEVEL, conformal_p_value
from eval.error_rates.mirror_rates import share_by_artist
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import RESULTS

RANKINGS = ("scores, three models", "residuals, three models", "residuals, two models")
FIFTHS = 5


@dataclass(frozen=True)
class Scored:
    """One picture under one suspect."""

    training: str
    artist: str
    suspect: str  # "split/artist-half"
    file: str
    member: bool
    score: float

    @property
    def split(self) -> str:
        """The random split that the suspect's half is of."""
        return self.suspect.partition("/")[0]


@dataclass(frozen=True)
class Judged:
    """One picture judged in one of the `RANKINGS`."""

    scored: Scored
    ranking: str
    p_value: float


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    scores = read_scores(RESULTS / "mini" / "rates" / "decisions.csv")
    trainings = list(dict.fromkeys(s.training for s in scores))
    summaries = []
    for training in trainings:
        judged = list(_judge([s for s in scores if s.training == training]))
        fifths = _fifths([s for s in scores if s.training != training])
        summaries += [_summary(training, ranking, judged, fifths) for ranking in RANKINGS]
    report = {"level": LEVEL, "rows": rounded(summaries)}
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "residuals.json").write_text(json.dumps(report, indent=1) + "\n")
    text = f"# Residuals\n\n`python -m eval residuals`\n\n{residuals_table(report)}"
    (o.out / "residuals.md").write_text(text)
    print(text)


def read_scores(path: Path) -> list[Scored]:
    """Read the decisions of `eval rates`."""
    with path.open() as file:
        return [
            Scored(r["training"], r["concept"], r["suspect"], r["file"], r["member"] == "1", float(r["score"]))
            for r in csv.DictReader(file)
        ]


def _judge(scores: Sequence[Scored]) -> Iterator[Judged]:
    """Judge every picture under every suspect of one training, in each of the `RANKINGS`."""
    two: list[tuple[Scored, float]] = []  # the third ranking waits for the residuals of all artists
    for artist in dict.fromkeys(s.artist for s in scores):
        works = [s for s in scores if s.artist == artist]
        for suspect in dict.fromkeys(s.suspect for s in works):
            left_out = left_out_by_others(works, suspect)
            groups = {file: [s.score for s in found] for file, found in left_out.items()}
            nulls = [score for group in groups.values() for score in group]
            own = residuals_among(groups)
            for s in works:
                if s.suspect == suspect:
                    yield Judged(s, RANKINGS[0], conformal_p_value(s.score, nulls))
                    yield Judged(s, RANKINGS[1], conformal_p_value(residual(s.score, groups[s.file]), own))
                    other_split = [n.score for n in left_out[s.file] if n.split != s.split]
                    two.append((s, residual(s.score, other_split)))
    for s, value in two:
        against = [r for other, r in two if other.artist != s.artist and not other.member]
        yield Judged(s, RANKINGS[2], conformal_p_value(value, against))


def left_out_by_others(works: Sequence[Scored], suspect: str) -> dict[str, list[Scored]]:
    """Each picture of an artist, under the models that left it out; those of `suspect` are not among them."""
    left_out: dict[str, list[Scored]] = {s.file: [] for s in works}
    for s in works:
        if s.suspect != suspect and not s.member:
            left_out[s.file].append(s)
    return left_out


def residuals_among(groups: Mapping[str, Sequence[float]]) -> list[float]:
    """The residual of each null score among the others of the same picture."""
    return [residual(x, [*g[:i], *g[i + 1 :]]) for g in groups.values() if len(g) > 1 for i, x in enumerate(g)]


def _fifths(scores: Sequence[Scored]) -> dict[str, int]:
    """The fifth of the pictures that each belongs to, by its null scores in the *other* kinds of training.

    Its own null scores would not do: their noise is in the residual, too.
    """
    nulls: dict[str, list[float]] = {}
    for s in scores:
        if not s.member:
            nulls.setdefault(s.file, []).append(s.score)
    means = {file: fmean(found) for file, found in nulls.items()}
    edges = np.quantile(list(means.values()), np.linspace(0, 1, FIFTHS + 1)[1:-1])
    return {file: int(np.searchsorted(edges, mean)) for file, mean in means.items()}


def _summary(training: str, ranking: str, judged: Sequence[Judged], fifths: dict[str, int]) -> dict[str, Any]:
    chosen = [j for j in judged if j.ranking == ranking]
    unused, used = ([j for j in chosen if j.scored.member == member] for member in (False, True))
    by_fifth = [[j.p_value <= LEVEL for j in unused if fifths[j.scored.file] == k] for k in range(FIFTHS)]
    return {
        "training": training,
        "ranking": ranking,
        "false calls": share_by_artist([(j.scored.artist, j.p_value <= LEVEL) for j in unused], max),
        "power": share_by_artist([(j.scored.artist, j.p_value <= LEVEL) for j in used], min),
        "false calls by fifth of difficulty": [float(np.mean(calls)) for calls in by_fifth],
    }


def residuals_table(report: dict[str, Any]) -> str:
    """The table of the docs."""
    columns = ["", "ranked by", "unused called", "worst artist", "by fifth of difficulty", "used called"]
    rows = []
    for row in report["rows"]:
        false, power = row["false calls"], row["power"]
        fifths = ", ".join(f"{100 * share:.0f}" for share in row["false calls by fifth of difficulty"])
        kind = {"lora": "LoRA", "dreambooth": "DreamBooth"}[row["training"]]
        worst = f"{100 * false['worst artist'][0]:.0f} %"
        rows.append([kind, row["ranking"], _share(false), worst, f"{fifths} %", _share(power)])
    return markdown_table(columns, rows, spaced=True) + "\n"


def _share(found: dict[str, Any]) -> str:
    low, high = (100 * x for x in found["interval"])
    return f"{100 * found['share']:.1f} % ({low:.1f} to {high:.1f})"
