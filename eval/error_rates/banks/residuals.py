"""`python -m eval residuals`: what a picture's own difficulty does to a bank's verdict, and what residuals make of it.

It reads the scores of `eval rates`, whose suspects come in two random splits of each artist's pictures; `--rates` names
other folders of them, all of one base. One suspect is in question; the other models of the artist are its bank. A bank
of three has its own null residuals. Two models leave each picture out once: their residuals are compared with those by
*other* artists, in units of memorisation (`cgidm.judging.tables.residual_table`), whatever the kind of training.
`--table` writes them as the table that verdicts use.
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
from sklearn.metrics import roc_auc_score

from cgidm.errors import UserError
from cgidm.files import write_atomically
from cgidm.judging.banks.residuals import residual
from cgidm.judging.tables.files import read_tables
from cgidm.judging.tables.residual_table import ResidualGroup, ResidualTable, mean_rise
from cgidm.judging.verdict import LEVEL, conformal_p_value
from cgidm.method.config import RunConfig
from cgidm.training.trained_model import weight_digests
from eval.benchmark.experiment import load_experiment
from eval.error_rates.mirror_rates import CONFIDENCE, RESAMPLES, share_by_artist
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import RESULTS

RANKINGS = ("scores, three models", "residuals, three models", "residuals, two models")
USUAL = ("rates", "rates-dose")  # folders of results
FIFTHS = 5
TITLES = {
    **{"lora": "LoRA", "dreambooth": "DreamBooth"},
    **{f"lora-{n}": f"LoRA, presented {n} times" for n in (5, 10, 20, 60)},
    "lora-of-200": "LoRA of 200 works by twenty artists",
}


@dataclass(frozen=True)
class Scored:
    """One picture under one suspect."""

    training: str
    artist: str  # whose works the suspect learnt
    suspect: str  # "split/artist-half"
    file: str
    member: bool
    score: float

    @property
    def split(self) -> str:
        """The random split that the suspect's half is of."""
        return self.suspect.partition("/")[0]

    @property
    def painter(self) -> str:
        """The artist of this picture: where many artists' works are in one suspect, its folder."""
        return self.file.split("/")[-2]

    @property
    def group(self) -> tuple[str, str, str]:
        """Artist, kind of training and suspect."""
        return self.artist, self.training, self.suspect


@dataclass(frozen=True)
class Judged:
    """One picture judged in one of the `RANKINGS`."""

    scored: Scored
    ranking: str
    value: float  # what is ranked
    p_value: float


@dataclass(frozen=True)
class TwoModelResidual:
    """The residual of one picture under one suspect, by a bank of two models."""

    scored: Scored
    memorisation: float  # of the bank
    residual: float


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    folders = o.rates or [RESULTS / "mini" / name for name in USUAL]
    scores = [s for folder in folders for s in read_scores(folder / "decisions.csv")]
    trainings = list(dict.fromkeys(s.training for s in scores))
    residuals = [found for t in trainings for found in two_model_residuals([s for s in scores if s.training == t])]
    by_two = list(judge_by_others(residuals))
    summaries = []
    for training in trainings:
        judged = [*judge_by_three([s for s in scores if s.training == training]), *by_two]
        fifths = difficulty_fifths([s for s in scores if s.training != training])
        of_training = [j for j in judged if j.scored.training == training]
        summaries += [_summary(training, ranking, of_training, fifths) for ranking in RANKINGS]
    report = {"level": LEVEL, "rows": rounded(summaries)}
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "residuals.json").write_text(json.dumps(report, indent=1) + "\n")
    given = f" --rates {' '.join(map(str, o.rates))} --out {o.out}" if o.rates else ""
    text = f"# Residuals\n\n`python -m eval residuals{given}`\n\n{residuals_table(report)}"
    (o.out / "residuals.md").write_text(text)
    if o.table is not None:
        base = find_base(folders)
        table = ResidualTable(base=base, draws=RunConfig().loss_draws, groups=tuple(table_groups(residuals)))
        tables = read_tables(ResidualTable, o.table.name, "judging.damaged_residual_table", o.table.parent)
        others = [t.model_dump() for t in tables if t.base != base]  # the file holds one table for each base
        write_atomically(o.table, json.dumps(rounded([table.model_dump(), *others])) + "\n")
    print(text)


def find_base(folders: Sequence[Path]) -> tuple[str, ...]:
    """The digests of the base that the suspects of all folders were made from.

    Raises:
        UserError: if they have several.
    """
    names = [json.loads((folder / "rates.json").read_text())["experiment"] for folder in folders]
    bases = list(dict.fromkeys(load_experiment(name).base for name in names))
    if len(bases) > 1:
        raise UserError("error_rates.many_bases", given=len(bases))
    return tuple(sorted(weight_digests(bases[0])))


def read_scores(path: Path) -> list[Scored]:
    """Read the decisions of `eval rates`."""
    with path.open() as file:
        return [
            Scored(r["training"], r["concept"], r["suspect"], r["file"], r["member"] == "1", float(r["score"]))
            for r in csv.DictReader(file)
        ]


def judge_by_three(scores: Sequence[Scored]) -> Iterator[Judged]:
    """Judge every picture under every suspect of one training, by the other three models of the artist."""
    for artist in dict.fromkeys(s.artist for s in scores):
        works = [s for s in scores if s.artist == artist]
        for suspect in dict.fromkeys(s.suspect for s in works):
            left_out = left_out_by_others(works, suspect)
            groups = {file: [s.score for s in found] for file, found in left_out.items()}
            nulls = [score for group in groups.values() for score in group]
            own = residuals_among(groups)
            for s in works:
                if s.suspect == suspect:
                    yield Judged(s, RANKINGS[0], s.score, conformal_p_value(s.score, nulls))
                    rest = residual(s.score, groups[s.file])
                    yield Judged(s, RANKINGS[1], rest, conformal_p_value(rest, own))


def two_model_residuals(scores: Sequence[Scored]) -> Iterator[TwoModelResidual]:
    """The residual of every picture under every suspect of one training, by the two models of the other split."""
    for artist in dict.fromkeys(s.artist for s in scores):
        works = [s for s in scores if s.artist == artist]
        for suspect in dict.fromkeys(s.suspect for s in works):
            questioned = [s for s in works if s.suspect == suspect]
            yield from residuals_by_two(questioned, [s for s in works if s.split != questioned[0].split])


def residuals_by_two(questioned: Sequence[Scored], bank: Sequence[Scored]) -> Iterator[TwoModelResidual]:
    """The residuals of pictures under one suspect, by a bank of the two models of another split."""
    used, left_out = (
        {s.file: [n.score for n in bank if n.file == s.file and n.member == m] for s in questioned}
        for m in (True, False)
    )
    unit = mean_rise([(used[s.file], left_out[s.file]) for s in questioned])
    yield from (TwoModelResidual(s, unit, residual(s.score, left_out[s.file])) for s in questioned)


def table_groups(residuals: Sequence[TwoModelResidual]) -> Iterator[ResidualGroup]:
    """The null residuals of each suspect, in the unit of its bank; none of a bank that memorises nothing."""
    for artist, training, suspect in dict.fromkeys(r.scored.group for r in residuals):
        own = [r for r in residuals if r.scored.group == (artist, training, suspect)]
        unit = own[0].memorisation
        if unit > 0:
            nulls = tuple(r.residual / unit for r in own if not r.scored.member)
            yield ResidualGroup(artist=artist, training=training, memorisation=unit, residuals=nulls)


def judge_by_others(
    residuals: Sequence[TwoModelResidual], nulls: Sequence[TwoModelResidual] | None = None
) -> Iterator[Judged]:
    """Judge by the table of *other* artists, as a bank of two models is judged.

    Args:
        residuals: what is judged.
        nulls: what the table is made of; None: the same.
    """
    groups = list(table_groups(residuals if nulls is None else nulls))
    for artist in dict.fromkeys(r.scored.painter for r in residuals):
        table = ResidualTable(base=(), draws=0, groups=tuple(g for g in groups if g.artist != artist))
        for r in residuals:
            if r.scored.painter == artist:
                against = table.residuals_at(r.memorisation)
                p = conformal_p_value(r.residual / r.memorisation, against) if against else 1.0
                yield Judged(r.scored, RANKINGS[2], r.residual, p)


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


def difficulty_fifths(scores: Sequence[Scored]) -> dict[str, int]:
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
        "AUC": _area(chosen),
    }


def _area(judged: Sequence[Judged]) -> dict[str, Any]:
    """The AUC of members against holdouts under one suspect: mean over suspects, interval over artists, worst artist.

    No suspect is compared with another, so that what they have learnt does not matter.
    """
    by_artist: dict[str, list[float]] = {}
    for artist, suspect in dict.fromkeys((j.scored.artist, j.scored.suspect) for j in judged):
        own = [j for j in judged if (j.scored.artist, j.scored.suspect) == (artist, suspect)]
        area = roc_auc_score([j.scored.member for j in own], [j.value for j in own])
        by_artist.setdefault(artist, []).append(float(area))
    means = {artist: fmean(areas) for artist, areas in by_artist.items()}
    values = np.array([*means.values()])
    drawn = values[np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    tail = (1 - CONFIDENCE) / 2
    worst = min(means, key=lambda artist: means[artist])
    return {
        "mean": float(values.mean()),
        "interval": np.quantile(drawn, [tail, 1 - tail]).tolist(),
        "worst artist": [means[worst], worst],
        "artists": len(means),
        "suspects": sum(map(len, by_artist.values())),
    }


def residuals_table(report: dict[str, Any]) -> str:
    """The table of the docs."""
    columns = ["", "ranked by", "unused called", "worst artist", "by fifth of difficulty", "used called", "AUC"]
    rows = []
    for row in report["rows"]:
        false, power = row["false calls"], row["power"]
        fifths = ", ".join(f"{100 * share:.0f}" for share in row["false calls by fifth of difficulty"])
        kind = TITLES[row["training"]]
        worst = f"{100 * false['worst artist'][0]:.0f} %"
        area = row["AUC"]
        low, high = area["interval"]
        said = f"{area['mean']:.3f} ({low:.3f} to {high:.3f}; worst {area['worst artist'][0]:.2f})"
        rows.append([kind, row["ranking"], _share(false), worst, f"{fifths} %", _share(power), said])
    return markdown_table(columns, rows, spaced=True) + "\n"


def _share(found: dict[str, Any]) -> str:
    low, high = (100 * x for x in found["interval"])
    return f"{100 * found['share']:.1f} % ({low:.1f} to {high:.1f})"
