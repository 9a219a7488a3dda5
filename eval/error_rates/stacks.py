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

from cgidm.evidence.suspects.correction import Answer, correct_for_suspects
from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.judging.mirror_test import table_reference
from cgidm.judging.scoring import score_mirror
from cgidm.judging.verdict import LEVEL, STRICT_LEVEL, is_positive
from cgidm.method.config import PRESETS
from cgidm.pictures.images import read_picture
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
from eval.error_rates.wild.rows import LABORATORY
from eval.markdown import markdown_table
from eval.options import default_workers

FOLDER = "stacks"  # below the working folder
SCALES = (1.0, 0.8, 0.6)  # of the LoRAs of a stack; which of them the right one has goes round
PICTURES = 3  # used ones of a stack, and as many that no LoRA was trained on
MODES = {"left out": "one left out: the others on both sides", "alone": "each by itself, against the base"}


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
    """Count by mode: stacks whose right LoRA alone is named, for a picture and for a set; shares over pictures."""
    references = [table_reference([g for g in table_groups(base) if g.artist not in stack.artists]) for stack in found]
    modes = {}
    for mode in MODES:
        first, sets, unused_sets = [], [], []
        named, ranked, falsely, single, own = [], [], [], [], []
        for stack, reference in zip(found, references, strict=True):
            artist, many = stack.artists[stack.right], len(stack.files) // 2
            of_pictures = list(zip(*stack.scores[mode], strict=True))  # of each picture, of each LoRA
            for i, scores in enumerate(of_pictures):
                p_values = [reference.p_value(s) for s in scores]
                called, used = name_loras(p_values), i < many
                wrong = called - {stack.right} if used else called
                if i == 0:
                    first.append((called == {stack.right}, stack.right))
                if used:
                    named.append((artist, stack.right in called))
                    ranked.append((artist, max(scores) == scores[stack.right]))
                falsely.append((artist, bool(wrong)))
                single += [(artist, p <= LEVEL) for n, p in enumerate(p_values) if n != stack.right]
                own += [] if used else [(artist, p_values[stack.right] <= LEVEL)]
            for chosen, counted in ((slice(many), sets), (slice(many, None), unused_sets)):
                witnesses = [reference.ask_set(of_lora[chosen]) for of_lora in stack.scores[mode]]
                counted.append(name_loras([1.0 if w.p_value is None else w.p_value for w in witnesses]))
        by_scale = {f"{s:g}": [ok for ok, right in first if right == n] for n, s in enumerate(SCALES)}
        modes[mode] = {
            "named": sum(ok for ok, _ in first),
            "named by scale": {scale: f"{sum(oks)} of {len(oks)}" for scale, oks in by_scale.items()},
            "named for a set": sum(s == {stack.right} for s, stack in zip(sets, found, strict=True)),
            "anything named for an unused set": sum(map(bool, unused_sets)),
            "right LoRA named": share_by_artist(named, min),
            "right LoRA first": share_by_artist(ranked, min),
            "a wrong LoRA named": share_by_artist(falsely, max),
            "unused called under their artist's LoRA, not corrected": share_by_artist(own, max),
            "called under other LoRAs, not corrected": share_by_artist(single, max),
        }
    return {"pictures": PICTURES, "modes": modes}


def name_loras(p_values: Sequence[float]) -> set[int]:
    """Which LoRAs of a stack are named, by their p-values about one picture or set."""
    corrected = correct_for_suspects([Answer(outcome=_outcome(p), p_value=p) for p in p_values])
    return {n for n, a in enumerate(corrected) if is_positive(a.outcome)}


def stacks_text(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    command = f"python -m eval stacks {report['experiment']} --stacks {report['stacks']} --data DIR"
    text = (
        f"Stacks of three LoRAs at scales {', '.join(f'{s:g}' for s in SCALES)}, one of which was trained on the "
        f"picture: `{command}`. Named at a level of {LEVEL:.0%} for all three together. Intervals: bootstrap over "
        "artists, 95 %."
    )
    return f"{text}\n\n{stacks_table(report)}\n"


def stacks_table(report: Mapping[str, Any]) -> str:
    """A column for each mode; the docs show it, too."""
    of, modes = report["stacks"], [report["modes"][mode] for mode in MODES]
    scales = ", ".join(f"{s:g}" for s in SCALES)
    texts = {
        "the right LoRA alone is named, one picture a stack": lambda m: f"{m['named']} of {of}",
        f"the same, where its scale is {scales}": lambda m: ", ".join(m["named by scale"].values()),
        f"the right LoRA alone is named, a set of {report['pictures']} pictures a stack": lambda m: (
            f"{m['named for a set']} of {of}"
        ),
        "the right LoRA has the highest score of the three, used pictures": lambda m: _share(m["right LoRA first"]),
        "the right LoRA is named, used pictures": lambda m: _share(m["right LoRA named"]),
        "a wrong LoRA is named, used and unused pictures": lambda m: _share(m["a wrong LoRA named"]),
        f"a LoRA is named, sets of {report['pictures']} unused pictures": lambda m: (
            f"{m['anything named for an unused set']} of {of}"
        ),
        "unused pictures called under their artist's LoRA, without a correction": lambda m: _share(
            m["unused called under their artist's LoRA, not corrected"]
        ),
        "pictures called under the other LoRAs, without a correction": lambda m: _share(
            m["called under other LoRAs, not corrected"]
        ),
    }
    return markdown_table(["", *MODES.values()], [[name, *map(text, modes)] for name, text in texts.items()])


def _outcome(p: float) -> str:
    if p <= STRICT_LEVEL:
        return "consistent with training on this image"
    return "weak evidence" if p <= LEVEL else "cannot tell"


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
