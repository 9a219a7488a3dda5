"""`python -m eval bank-sizes`: how many null models a bank needs.

It reads the scores of suspects in five random splits of each artist's pictures. A suspect is judged by the models of
the next one to four splits, two a split. No model of its own split is asked: that one learnt just what it left out.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cgidm.judging.banks.residuals import residual
from cgidm.judging.verdict import LEVEL, conformal_p_value
from eval.error_rates.banks.mirror_in_banks import choose_bank
from eval.error_rates.banks.residuals import (
    FIFTHS,
    USUAL,
    Judged,
    Scored,
    TwoModelResidual,
    difficulty_fifths,
    judge_by_others,
    left_out_by_others,
    read_scores,
    residuals_among,
    residuals_by_two,
)
from eval.error_rates.mirror_rates import share_by_artist
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import RESULTS

SCORES = RESULTS / "mini" / "rates-eight" / "decisions.csv"
SIZES = (2, 4, 6, 8)
LEVELS = (0.01, 0.025, LEVEL, 0.1)


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    scores = read_scores(SCORES)
    others = [s for name in USUAL for s in read_scores(RESULTS / "mini" / name / "decisions.csv")]
    trainings, files = {s.training for s in scores}, {s.file for s in scores}
    fifths = difficulty_fifths([s for s in others if s.training not in trainings and s.file in files])
    rows = [_row(size, list(judge_by_size(scores, size)), fifths) for size in SIZES]
    report = rounded({"artists": len({s.artist for s in scores}), "rows": rows})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "sizes.json").write_text(json.dumps(report, indent=1) + "\n")
    text = f"# Banks by their number of models\n\n`python -m eval bank-sizes`\n\n{sizes_table(report)}"
    (o.out / "sizes.md").write_text(text)
    print(text, end="")


def judge_by_size(scores: Sequence[Scored], size: int) -> Iterator[Judged]:
    """Judge every picture under every suspect by `size` models of the artist's next splits.

    Two models leave each picture out once, so their residuals are compared with those of other artists.
    """
    by_two: list[TwoModelResidual] = []
    for artist, training in dict.fromkeys((s.artist, s.training) for s in scores):
        works = [s for s in scores if (s.artist, s.training) == (artist, training)]
        suspects = list(dict.fromkeys(s.suspect for s in works))
        for suspect in suspects:
            own, models = [s for s in works if s.suspect == suspect], choose_bank(f"{size} models", suspects, suspect)
            bank = [s for s in works if s.suspect in models]
            if size == 2:
                by_two += residuals_by_two(own, bank)
                continue
            groups = {file: [s.score for s in left] for file, left in left_out_by_others(bank, suspect).items()}
            nulls = residuals_among(groups)
            for s in own:
                value = residual(s.score, groups[s.file])
                yield Judged(s, f"{size} models", value, conformal_p_value(value, nulls))
    yield from (replace(j, ranking=f"{size} models") for j in judge_by_others(by_two))


def _row(size: int, judged: Sequence[Judged], fifths: Mapping[str, int]) -> dict[str, Any]:
    unused, used = ([j for j in judged if j.scored.member == member] for member in (False, True))
    by_fifth = [[j.p_value <= LEVEL for j in unused if fifths[j.scored.file] == k] for k in range(FIFTHS)]
    return {
        "models": size,
        "suspects": len({j.scored.group for j in judged}),
        "least p-value": min(j.p_value for j in judged),
        "false calls by fifth of difficulty": [float(np.mean(calls)) for calls in by_fifth],
        **{
            f"{name} at {level}": share_by_artist([(j.scored.artist, j.p_value <= level) for j in some], worst)
            for name, some, worst in (("false calls", unused, max), ("power", used, min))
            for level in LEVELS
        },
    }


def sizes_table(report: Mapping[str, Any]) -> str:
    """The rates in Markdown, a row for each number of models and level."""
    columns = ["models", "level", "unused called", "worst artist", "by fifth of difficulty", "used called"]
    rows = []
    for row in report["rows"]:
        fifths = ", ".join(f"{100 * share:.0f}" for share in row["false calls by fifth of difficulty"])
        for level in LEVELS:
            false, power = row[f"false calls at {level}"], row[f"power at {level}"]
            worst = f"{100 * false['worst artist'][0]:.0f} %"
            cells = [_share(false), worst, f"{fifths} %" if level == LEVEL else "", _share(power)]
            rows.append([str(row["models"]), f"{100 * level:g} %", *cells])
    return markdown_table(columns, rows, spaced=True) + "\n"


def _share(found: Mapping[str, Any]) -> str:
    low, high = (100 * x for x in found["interval"])
    return f"{100 * found['share']:.1f} % ({low:.1f} to {high:.1f})"
