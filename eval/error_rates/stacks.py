"""`python -m eval stacks`: which LoRA of a stack knows the picture?

Three LoRAs of different artists are used together, each at a scale of its own. One of them was trained on the picture.
Each is asked by itself, against the base. The p-values of a picture are corrected for the three in two ways: with one
LoRA tested first, as the tool does, and with the same share of the level for all. The table of null scores is the
shipped one, without the artists of the stack.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import TypeAdapter

from cgidm.evidence.suspects.correction import Answer, choose_first, correct_for_suspects
from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.judging.mirror_test import MirrorReference, table_reference
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
DRAW = "stack, by itself"  # what the lot is drawn by
PICTURES = 3  # used ones of a stack, and as many that no LoRA was trained on
WAYS = {"ordered": "the largest contrast first", "alike": "all LoRAs alike (Holm)"}  # of the correction


@dataclass(frozen=True, kw_only=True)
class StackScores:
    """The scores of one stack.

    Attributes:
        artists: of each LoRA.
        right: which LoRA was trained on the used pictures.
        files: the pictures; the first half of them was used.
        scores: of the mirror test; of each LoRA, of each picture.
        contrasts: the mean contrast of picture and mirror image, likewise.
    """

    artists: tuple[str, ...]
    right: int
    files: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    contrasts: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class StackJob:
    """Score the pictures of one stack under each of its LoRAs."""

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
        return len(self.suspects) * len(self.pictures)

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
        scored = []
        for suspect, folder, scale in zip(self.suspects, found, SCALES, strict=True):
            pair = load_pair(base, f"{folder}@{scale}", suspect.config.prompt)
            pictures = [read_picture(locate_picture(self.setting.data, p), pair.resolution) for p in self.pictures]
            scored.append(score_mirror(pair, pictures, PRESETS["fast"]))
        result = StackScores(
            artists=tuple(artist_of(s.pictures[0].file) for s in self.suspects),
            right=self.right,
            files=tuple(p.file for p in self.pictures),
            scores=tuple(tuple(s.value for s in of_lora) for of_lora in scored),
            contrasts=tuple(tuple(s.contrast for s in of_lora) for of_lora in scored),
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
    drawn = sorted(suspects, key=lambda s: make_key(draw=DRAW, number=number, concept=[s.dataset, s.concept]))
    chosen, right = tuple(drawn[: len(SCALES)]), number % len(SCALES)
    own = halves[chosen[right].dataset, chosen[right].concept]
    pictures = [p for half in own for p in rank_by_seed(half, number, DRAW, chosen[right].concept)[:PICTURES]]
    return StackJob(setting, number, chosen, right, tuple(pictures))


def count_stacks(found: Sequence[StackScores], base: Sequence[str]) -> dict[str, Any]:
    """Count stacks whose right LoRA alone is named, by each correction, and shares over pictures."""
    references = [table_reference([g for g in table_groups(base) if g.artist not in stack.artists]) for stack in found]
    paired = [*zip(found, references, strict=True)]
    own, single, uncorrected, ranked, largest = [], [], [], [], []
    for stack, reference in paired:
        artist, many = stack.artists[stack.right], len(stack.files) // 2
        for i, (scores, contrasts) in enumerate(_of_pictures(stack)):
            p_values = [reference.p_value(s) for s in scores]
            single += [(artist, p <= LEVEL) for n, p in enumerate(p_values) if n != stack.right]
            if i == 0:
                uncorrected.append(p_values[stack.right] <= LEVEL)
            if i < many:
                ranked.append((artist, max(scores) == scores[stack.right]))
                largest.append((artist, choose_first(contrasts) == stack.right))
            else:
                own.append((artist, p_values[stack.right] <= LEVEL))
    return {
        "pictures": PICTURES,
        "called without a correction": sum(uncorrected),
        "right LoRA has the highest score": share_by_artist(ranked, min),
        "right LoRA has the largest contrast": share_by_artist(largest, min),
        "unused called under their artist's LoRA, not corrected": share_by_artist(own, max),
        "called under other LoRAs, not corrected": share_by_artist(single, max),
        "corrections": {way: _count_named(paired, ordered=way == "ordered") for way in WAYS},
    }


def _count_named(paired: Sequence[tuple[StackScores, MirrorReference]], *, ordered: bool) -> dict[str, Any]:
    """Count what is named by one of the corrections."""
    first, sets, unused_sets, named, falsely = [], [], [], [], []
    for stack, reference in paired:
        artist, many = stack.artists[stack.right], len(stack.files) // 2
        for i, (scores, contrasts) in enumerate(_of_pictures(stack)):
            called = name_loras([reference.p_value(s) for s in scores], contrasts if ordered else None)
            used = i < many
            if i == 0:
                first.append((called == {stack.right}, stack.right))
            if used:
                named.append((artist, stack.right in called))
            falsely.append((artist, bool(called - {stack.right} if used else called)))
        for chosen, counted in ((slice(many), sets), (slice(many, None), unused_sets)):
            witnesses = [reference.ask_set(of_lora[chosen], stack.files[chosen]) for of_lora in stack.scores]
            contrasts = [fmean(of_lora[chosen]) for of_lora in stack.contrasts]
            p_values = [1.0 if w.p_value is None else w.p_value for w in witnesses]
            counted.append(name_loras(p_values, contrasts if ordered else None))
    by_scale = {f"{s:g}": [ok for ok, right in first if right == n] for n, s in enumerate(SCALES)}
    return {
        "named": sum(ok for ok, _ in first),
        "named by scale": {scale: f"{sum(oks)} of {len(oks)}" for scale, oks in by_scale.items()},
        "named for a set": sum(s == {stack.right} for s, (stack, _) in zip(sets, paired, strict=True)),
        "anything named for an unused set": sum(map(bool, unused_sets)),
        "right LoRA named": share_by_artist(named, min),
        "a wrong LoRA named": share_by_artist(falsely, max),
    }


def _of_pictures(stack: StackScores) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Of each picture: its scores and its contrasts, under each LoRA."""
    return [*zip(zip(*stack.scores, strict=True), zip(*stack.contrasts, strict=True), strict=True)]


def name_loras(p_values: Sequence[float], contrasts: Sequence[float] | None = None) -> set[int]:
    """Which LoRAs of a stack are named, by their p-values about one picture or set, and by what orders them."""
    answers = [Answer(outcome=_outcome(p), p_value=p) for p in p_values]
    corrected = correct_for_suspects(answers, None if contrasts is None else choose_first(contrasts))
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
    """A column for each correction, then what none of them changes; the docs show it, too."""
    of, corrections = report["stacks"], [report["corrections"][way] for way in WAYS]
    scales, pictures = ", ".join(f"{s:g}" for s in SCALES), report["pictures"]
    texts = {
        "the right LoRA alone is named, one picture a stack": lambda m: f"{m['named']} of {of}",
        f"the same, where its scale is {scales}": lambda m: ", ".join(m["named by scale"].values()),
        f"the right LoRA alone is named, a set of {pictures} pictures a stack": lambda m: (
            f"{m['named for a set']} of {of}"
        ),
        "the right LoRA is named, used pictures": lambda m: _share(m["right LoRA named"]),
        "a wrong LoRA is named, used and unused pictures": lambda m: _share(m["a wrong LoRA named"]),
        f"a LoRA is named, sets of {pictures} unused pictures": lambda m: (
            f"{m['anything named for an unused set']} of {of}"
        ),
    }
    same = {
        "the right LoRA is called without a correction, one picture a stack": (
            f"{report['called without a correction']} of {of}"
        ),
        "the right LoRA has the highest score, used pictures": _share(report["right LoRA has the highest score"]),
        "the right LoRA has the largest contrast, used pictures": _share(report["right LoRA has the largest contrast"]),
        "unused pictures called under their artist's LoRA, without a correction": _share(
            report["unused called under their artist's LoRA, not corrected"]
        ),
        "pictures called under the other LoRAs, without a correction": _share(
            report["called under other LoRAs, not corrected"]
        ),
    }
    rows = [[name, *map(text, corrections)] for name, text in texts.items()]
    return markdown_table(["", *WAYS.values()], [*rows, *([name, text, text] for name, text in same.items())])


def _outcome(p: float) -> str:
    if p <= STRICT_LEVEL:
        return "consistent with training on this image"
    return "weak evidence" if p <= LEVEL else "cannot tell"


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
