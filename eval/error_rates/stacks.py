"""`python -m eval stacks`: which LoRA of a stack knows the picture?

Three LoRAs of different artists are used together, each at a scale of its own. One of them was trained on the picture.
Each is asked in two ways: with the other two on both sides of the contrast (leave one out), and by itself against the
base. The p-values of a picture are corrected for the three. The table of null scores is the shipped one, without the
artists of the stack.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.judging.mirror_test import table_reference
from cgidm.judging.scoring import score_mirror
from cgidm.judging.verdict import LEVEL, STRICT_LEVEL
from cgidm.method.config import PRESETS
from cgidm.pictures.images import read_picture
from cgidm.suspects.correction import Answer, correct_for_suspects
from cgidm.training.split import PictureFile, locate_picture, rank_by_seed
from cgidm.training.trained_model import find_checkpoint
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Ledger, Row, make_key
from eval.benchmark.plan import Suspect, plan_suspects
from eval.benchmark.stages import Setting, TrainJob
from eval.error_rates.altered import table_groups
from eval.error_rates.mirror_rates import artist_of, share_by_artist
from eval.error_rates.trust import rounded
from eval.error_rates.wild_rows import LABORATORY
from eval.markdown import markdown_table
from eval.options import default_workers

FOLDER = "stacks"  # below the working folder
SCALES = (1.0, 0.8, 0.6)  # of the LoRAs of a stack; which of them the right one has goes round
PICTURES = 3  # used ones of a stack, and as many that no LoRA was trained on
MODES = {"left out": "leave one out: the others on both sides", "alone": "each by itself, against the base"}


@dataclass(frozen=True, kw_only=True)
class StackScores:
    """The scores of one stack.

    Attributes:
        artists: of each LoRA.
        right: which LoRA was trained on the used pictures.
        files: the pictures; the first half of them was used.
        scores: by mode; of each LoRA, of each picture.
    """

    artists: tuple[str, ...]
    right: int
    files: tuple[str, ...]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]


@dataclass(frozen=True)
class StackJob:
    """Score the pictures of one stack under each of its LoRAs, in both modes."""

    setting: Setting
    number: int
    suspects: tuple[Suspect, ...]
    right: int
    pictures: tuple[PictureFile, ...]

    @property
    def name(self) -> str:
        """The number, and who is asked about."""
        return f"stack {self.number + 1}: {self.suspects[self.right].concept}"

    @property
    def cost(self) -> int:
        """How many pictures are scored."""
        return len(MODES) * len(self.suspects) * len(self.pictures)

    @property
    def path(self) -> Path:
        """The file of the scores."""
        models = [s.model.key(self.setting.base_weights) for s in self.suspects]
        judged = {"pictures": [p.sha256 for p in self.pictures], "config": asdict(PRESETS["fast"]), "scales": SCALES}
        key = make_key(models=models, right=self.right, judged=judged)
        return self.setting.work / FOLDER / f"{self.number:02d}-{key[:10]}.json"

    def run(self) -> Iterator[list[Row]]:
        """Score, and write the file; the ledger gets no row."""
        base, work = self.setting.experiment.base, self.setting.work
        found = [find_checkpoint(s.model, self.setting.base_weights, work) for s in self.suspects]
        given = [f"{folder}@{scale}" for folder, scale in zip(found, SCALES, strict=True)]
        scores: dict[str, list[tuple[float, ...]]] = {mode: [] for mode in MODES}
        for i, suspect in enumerate(given):
            others = [g for j, g in enumerate(given) if j != i]
            for mode, also in zip(MODES, (others, ()), strict=True):
                pair = load_pair(base, suspect, self.suspects[i].config.prompt, also=also)
                pictures = [read_picture(locate_picture(self.setting.data, p), pair.resolution) for p in self.pictures]
                scores[mode].append(tuple(s.value for s in score_mirror(pair, pictures, PRESETS["fast"])))
        result = StackScores(
            artists=tuple(artist_of(s.pictures[0].file) for s in self.suspects),
            right=self.right,
            files=tuple(p.file for p in self.pictures),
            scores={mode: tuple(of_mode) for mode, of_mode in scores.items()},
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(asdict(result)) + "\n")
        yield []


def run(o: argparse.Namespace) -> None:
    """Run the command: train and score what is missing, then count."""
    experiment = load_experiment(o.experiment)
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    workers = o.workers or default_workers()
    halves = {(d, c.name): c.halves for d, found in manifest.datasets.items() for c in found.concepts}
    planned = [s for s in plan_suspects(experiment, manifest) if s.half == 0 and s.training == LABORATORY]
    jobs = [plan_stack(setting, planned, halves, number) for number in range(o.stacks)]
    used = {s.name: s for job in jobs for s in job.suspects}
    run_local([TrainJob(setting, s) for s in used.values()], ledger, workers, "picture")
    run_local([job for job in jobs if not job.path.exists()], ledger, workers, "picture")
    found = [TypeAdapter(StackScores).validate_json(job.path.read_text()) for job in jobs]
    report = rounded({"experiment": experiment.name, "stacks": o.stacks, **count_stacks(found, setting.base_weights)})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "stacks.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "stacks.md").write_text(stacks_text(report))
    print(stacks_text(report), end="")


def plan_stack(
    setting: Setting,
    suspects: Sequence[Suspect],
    halves: Mapping[tuple[str, str], Sequence[Sequence[PictureFile]]],
    number: int,
) -> StackJob:
    """Draw the LoRAs of a stack by lot, and pictures of one of them: used ones, and others of the same artist."""
    drawn = sorted(suspects, key=lambda s: make_key(draw="stack", number=number, concept=[s.dataset, s.concept]))
    chosen, right = tuple(drawn[: len(SCALES)]), number % len(SCALES)
    own = halves[chosen[right].dataset, chosen[right].concept]
    pictures = [p for half in own for p in rank_by_seed(half, number, "stacks", chosen[right].concept)[:PICTURES]]
    return StackJob(setting, number, chosen, right, tuple(pictures))


def count_stacks(found: Sequence[StackScores], base: Sequence[str]) -> dict[str, Any]:
    """Count by mode: stacks whose right LoRA alone is named for one used picture, and shares over all pictures."""
    groups, modes = table_groups(base), {}
    for mode in MODES:
        first, named, falsely, pairs = [], [], [], []
        for stack in found:
            reference = table_reference([g for g in groups if g.artist not in stack.artists])
            artist = stack.artists[stack.right]
            for i in range(len(stack.files)):
                p_values = [reference.p_value(of_lora[i]) for of_lora in stack.scores[mode]]
                corrected = correct_for_suspects([Answer(outcome=_outcome(p), p_value=p) for p in p_values])
                called = [a.p_value is not None and a.p_value <= LEVEL for a in corrected]
                used = i < len(stack.files) // 2
                right = used and called[stack.right]
                wrong = any(c for lora, c in enumerate(called) if not (used and lora == stack.right))
                if i == 0:
                    first.append((right and not wrong, stack.right))
                if used:
                    named.append((artist, right))
                falsely.append((artist, wrong))
                pairs += [(artist, p <= LEVEL) for lora, p in enumerate(p_values) if not (used and lora == stack.right)]
        modes[mode] = {
            "right LoRA alone named, of one picture a stack": sum(ok for ok, _ in first),
            "by its scale": {
                f"{scale:g}": f"{sum(ok for ok, i in first if i == n)} of {sum(i == n for _, i in first)}"
                for n, scale in enumerate(SCALES)
            },
            "right LoRA named": share_by_artist(named, min),
            "a wrong LoRA named": share_by_artist(falsely, max),
            "wrong LoRAs called, not corrected": share_by_artist(pairs, max),
        }
    return {"pictures": len(found[0].files), "modes": modes}


def stacks_text(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    command = f"python -m eval stacks {report['experiment']} --stacks {report['stacks']} --data DIR"
    text = (
        f"Stacks of three LoRAs at scales {', '.join(f'{s:g}' for s in SCALES)}, one of which was trained on the "
        f"picture: `{command}`. At a level of {LEVEL:.0%} for all three together. Intervals: bootstrap over artists, "
        "95 %."
    )
    return f"{text}\n\n{stacks_table(report)}\n"


def stacks_table(report: Mapping[str, Any]) -> str:
    """A row for each mode; the docs show it, too."""
    columns = ["how each LoRA is asked", "stacks in which the right LoRA alone is named", "by the right LoRA's scale"]
    columns += ["used pictures: right LoRA named", "all pictures: a wrong LoRA named", "wrong LoRAs, not corrected"]
    rows = [
        [
            MODES[mode],
            f"{m['right LoRA alone named, of one picture a stack']} of {report['stacks']}",
            ", ".join(f"{scale}: {n}" for scale, n in m["by its scale"].items()),
            *(_share(v) for v in m.values() if isinstance(v, dict) and "share" in v),
        ]
        for mode, m in report["modes"].items()
    ]
    return markdown_table(columns, rows)


def _outcome(p: float) -> str:
    if p <= STRICT_LEVEL:
        return "consistent with training on this image"
    return "weak evidence" if p <= LEVEL else "cannot tell"


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
