"""`python -m eval combined`: what the mirror test and a bank of null models find, alone and together.

It reads the committed scores of `eval mirror` and `eval rates`, which judged the same suspects. A picture's mirror test
is judged by other artists' null scores, and by those of a bank. Its residual is judged by the same bank: the artist's
three other models, two of them, or eight models of other random splits. Counted are each by itself, and the bank's two
combined as a verdict combines them (`cgidm.judging.verdict.combine`).
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from cgidm.judging.verdict import CORRELATION, CORRELATION_IN_BANK, LEVEL, STRICT_LEVEL, combine
from eval.error_rates.banks.mirror_in_banks import (
    MirrorScored,
    SetOfWorks,
    judge_by_banks,
    judge_sets,
    read_mirror,
    shared_correlation,
)
from eval.error_rates.banks.residuals import (
    RANKINGS,
    TITLES,
    USUAL,
    Judged,
    Scored,
    judge_by_others,
    judge_by_three,
    read_scores,
    two_model_residuals,
)
from eval.error_rates.banks.sizes import judge_by_size
from eval.error_rates.mirror_rates import share_by_artist
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import RESULTS

MINI = RESULTS / "mini"
TESTS = ("mirror test, by the table", "mirror test, by the bank", "residual", "both")
MIXTURE = "rates-mixture"  # suspects of many artists: in no table, judged by the tables
CLIP_ART = "openclipart/"  # in the names of two authors, who draw in series
SINGLE = ("lora", "dreambooth", "lora-5", "lora-10", "lora-20")  # trainings of one artist's works
BANK_OF_THREE = "three models"
MANY = ("rates-eight", "rates-eight-dose")  # suspects in five random splits
LEAST_P = 1e-3  # p-values are cut there and at 1 - it, so that a few do not make the correlation
RESAMPLES = 1000


@dataclass(frozen=True)
class Pair:
    """One picture under one suspect, judged by both tests."""

    training: str
    artist: str
    used: bool
    by_table: float  # the mirror test
    by_bank: float  # the mirror test
    residual: float

    def p_value(self, test: str) -> float:
        """The p-value of one of `TESTS`."""
        both = combine(self.by_bank, self.residual, CORRELATION_IN_BANK)
        return (self.by_table, self.by_bank, self.residual, both)[TESTS.index(test)]


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    report: dict[str, Any] = {"allowed correlation": [CORRELATION, CORRELATION_IN_BANK], "correlation": {}}
    report |= {"shared": {}, "rows": [], "sets": [], "series": []}
    pairs_by_bank, mirror = find_pairs(), read_all_mirror()
    for bank, pairs in pairs_by_bank.items():
        report["sets"] += list(_set_rows(bank, list(judge_sets(mirror[bank], bank))))
        single = [p for p in pairs if p.training in SINGLE]
        report["correlation"][bank] = {
            "by the table": correlation(single, "by_table"),
            "by the bank": correlation(single, "by_bank"),
        }
        report["rows"] += list(_rows(bank, pairs))
        report["series"] += list(_rows(bank, [p for p in single if CLIP_ART in p.artist]))
    usual, many = mirror["three models"], mirror["8 models"]
    for training in SINGLE:
        own = many if training in {s.training for s in many} else usual
        report["shared"][training] = shared_correlation(own, training)
    calls = [(s.artist, p <= LEVEL) for s, p in judge_by_banks(usual, BANK_OF_THREE, lacking=True) if _is_weak(s)]
    report["unused called where the bank of three lacks the picture"] = share_by_artist(calls, max)
    report = rounded(report)
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "combined.json").write_text(json.dumps(report, indent=1) + "\n")
    text = f"# The mirror test and a bank together\n\n`python -m eval combined`\n\n{combined_table(report)}\n"
    text += f"\nSets, by the mirror test:\n\n{sets_table(report)}\n\nClip art in series:\n\n{series_table(report)}\n"
    (o.out / "combined.md").write_text(text)
    print(text, end="")


def find_pairs() -> dict[str, list[Pair]]:
    """The pictures that were judged by both tests, by the bank that judged them."""
    scores = [s for name in USUAL for s in read_scores(MINI / name / "decisions.csv")]
    trainings = list(dict.fromkeys(s.training for s in scores))
    by_training = {t: [s for s in scores if s.training == t] for t in trainings}
    two = [found for t in trainings for found in two_model_residuals(by_training[t])]
    mixture = read_scores(MINI / MIXTURE / "decisions.csv")
    usual = [*judge_by_others(two), *(j for t in trainings for j in judge_by_three(by_training[t]))]
    usual += [*judge_by_others(list(two_model_residuals(mixture)), two), *judge_by_three(mixture)]
    many = [s for name in MANY for s in read_scores(MINI / name / "decisions.csv")]
    judged = {
        "three models": [j for j in usual if j.ranking == RANKINGS[1]],
        "two models": [j for j in usual if j.ranking == RANKINGS[2]],
        "8 models": list(_judge_by_eight(many)),
    }
    mirror = read_all_mirror()
    return {bank: _pairs(bank, mirror[bank], found) for bank, found in judged.items()}


def read_all_mirror() -> dict[str, list[MirrorScored]]:
    """The committed scores of the mirror test, by the bank whose models and suspects they are of."""
    folders = ["mirror", "mirror-second", *(f"{name}/mirror" for name in ("rates-dose", MIXTURE))]
    usual = read_mirror(MINI / folder / "decisions.csv" for folder in folders)
    many = read_mirror(MINI / name / "mirror" / "decisions.csv" for name in MANY)
    return {"three models": usual, "two models": usual, "8 models": many}


def _judge_by_eight(scores: Sequence[Scored]) -> Iterator[Judged]:
    for training in dict.fromkeys(s.training for s in scores):
        yield from judge_by_size([s for s in scores if s.training == training], 8)


def _pairs(bank: str, mirror: Sequence[MirrorScored], judged: Sequence[Judged]) -> list[Pair]:
    residuals = {(*j.scored.group[1:], j.scored.file): j.p_value for j in judged}
    return [
        Pair(s.training, s.artist, s.used, s.by_table, p, residuals[s.training, s.suspect, s.file])
        for s, p in judge_by_banks(mirror, bank)
        if (s.training, s.suspect, s.file) in residuals
    ]


def correlation(pairs: Sequence[Pair], mirror: str) -> dict[str, float]:
    """The correlation of both tests' normal scores over unused pictures, and 95 % of a bootstrap over artists.

    Args:
        pairs: the pictures.
        mirror: which p-value of the mirror test: "by_table" or "by_bank".
    """
    unused = [p for p in pairs if not p.used]
    artists, rng = sorted({p.artist for p in unused}), np.random.default_rng(0)
    z = {a: np.array([_normal_scores(p, mirror) for p in unused if p.artist == a]) for a in artists}
    drawn = [np.concatenate([z[a] for a in rng.choice(artists, len(artists))]) for _ in range(RESAMPLES)]
    low, high = np.quantile([_correlation(some) for some in drawn], [0.025, 0.975])
    return {"estimate": _correlation(np.concatenate(list(z.values()))), "low": float(low), "high": float(high)}


def _normal_scores(pair: Pair, mirror: str) -> tuple[float, float]:
    one, other = np.clip([getattr(pair, mirror), pair.residual], LEAST_P, 1 - LEAST_P)
    return float(norm.isf(one)), float(norm.isf(other))


def _correlation(z: np.ndarray) -> float:
    return float(np.corrcoef(z.T)[0, 1])


def _rows(bank: str, pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    for training in dict.fromkeys(p.training for p in pairs):
        some = [p for p in pairs if p.training == training]
        for test in TESTS:
            rates = {
                f"{name} at {level}": share_by_artist(
                    [(p.artist, p.p_value(test) <= level) for p in some if p.used is used], worst
                )
                for level in (LEVEL, STRICT_LEVEL)
                for name, used, worst in (("unused", False, max), ("used", True, min))
            }
            yield {"bank": bank, "training": training, "test": test, **rates}


def _is_weak(scored: MirrorScored) -> bool:
    """An unused picture under a weakly trained suspect."""
    return scored.training in SINGLE[2:] and not scored.used


def _set_rows(bank: str, sets: Sequence[SetOfWorks]) -> Iterator[dict[str, Any]]:
    for training in dict.fromkeys(s.training for s in sets if s.training in SINGLE):
        row: dict[str, Any] = {"bank": bank, "training": training}
        for name, used in (("unused", False), ("used", True)):
            some = [s for s in sets if s.training == training and s.used is used]
            for level in (LEVEL, STRICT_LEVEL):
                row[f"{name} at {level}"] = [
                    sum(p <= level for p in values)
                    for values in ([s.by_table for s in some], [s.by_bank for s in some])
                ]
            row[name] = len(some)
        yield row


def sets_table(report: Mapping[str, Any]) -> str:
    """How many sets of works are called, in Markdown: by the table, and by the bank."""
    columns = ["", "bank of", "unused called, 5 %: by the table, by the bank", "used called, 5 %", "used called, 1 %"]
    rows = [
        [
            *(TITLES[r["training"]], r["bank"]),
            *(
                "{}, {} of {}".format(*r[f"{name} at {level}"], r[name])
                for name, level in (("unused", LEVEL), ("used", LEVEL), ("used", STRICT_LEVEL))
            ),
        ]
        for r in report["sets"]
    ]
    rows.sort(key=lambda row: list(TITLES.values()).index(row[0]))
    return markdown_table(columns, rows, spaced=True)


def series_table(report: Mapping[str, Any]) -> str:
    """Calls of clip art in series, in Markdown: by the table once, and by a bank of three."""
    rows = []
    for r in report["series"]:
        if r["bank"] == "three models" and r["test"] != TESTS[2]:
            cells = [r[f"{name} at {level}"] for name in ("unused", "used") for level in (LEVEL, STRICT_LEVEL)]
            rows.append([TITLES[r["training"]], r["test"], *(f"{c['count']} of {c['of']}" for c in cells)])
    columns = ["", "judged by", "unused called, 5 %", "unused called, 1 %", "used called, 5 %", "used called, 1 %"]
    return markdown_table(columns, rows, spaced=True)


def combined_table(report: Mapping[str, Any]) -> str:
    """The rates in Markdown. The table of null scores stands once for each suspect, whatever the bank."""
    rows = [r for r in report["rows"] if r["test"] != TESTS[0] or r["bank"] in ("three models", "8 models")]
    body = [
        [
            TITLES[r["training"]],
            r["test"] if r["test"] == TESTS[0] else f"{r['test']}, {r['bank'].removesuffix(' models')} models",
            *(_share(r[f"{name} at {level}"]) for level in (LEVEL, STRICT_LEVEL) for name in ("unused", "used")),
            f"{100 * r[f'unused at {LEVEL}']['worst artist'][0]:.0f} %",
        ]
        for r in rows
    ]
    body.sort(key=lambda row: list(TITLES.values()).index(row[0]))
    columns = ["", "judged by", "unused called, 5 %", "used called, 5 %"]
    columns += ["unused called, 1 %", "used called, 1 %", "worst artist, unused at 5 %"]
    return markdown_table(columns, body, spaced=True)


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['share']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
