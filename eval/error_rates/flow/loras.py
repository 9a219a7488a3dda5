"""`python -m eval flow-loras`: are LoRAs of the embedded flow model judged as those of the first one are?

Artists whom the base has not seen, half of their pictures each: one suspect a recipe. Every score is the library's.
Each suspect has one file below the working folder; a suspect whose file exists is not scored again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from sklearn.metrics import roc_auc_score

from cgidm.errors import UserError
from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.judging.mirror_test import MirrorTable
from cgidm.judging.scoring import score_mirror, score_views
from cgidm.method.config import RunConfig
from cgidm.method.models import ModelPair
from cgidm.method.objective import contrast
from cgidm.pictures.images import Picture, read_picture
from cgidm.training.split import locate_picture
from cgidm.training.trained_model import weight_digests
from eval.benchmark.datasets import Concept, prepare
from eval.benchmark.experiment import load_experiment
from eval.benchmark.flow_lora import FlowRecipe, train_flow_lora
from eval.benchmark.ledger import make_key
from eval.error_rates.mirror_rates import RESAMPLES, decide, decide_sets, null_groups, summarise
from eval.error_rates.mirror_scores import MirrorScores
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table

EXPERIMENT = "mini-mirror"  # names the artists and halves their pictures
RECIPES: Mapping[str, FlowRecipe] = {
    "sigmoid": FlowRecipe(times="sigmoid"),
    "shift": FlowRecipe(times="shift"),
    "sigmoid, 20 presentations": FlowRecipe(times="sigmoid", presentations=20),
}
PROMPTS: Mapping[str, str | None] = {"right": None, "wrong": "a photo of a dog", "blank": ""}  # None: the recipe's
PARTS = 10  # of t, in which the contrast is measured
DRAWS_OF_PART = 2


@dataclass(frozen=True, kw_only=True)
class FlowScores:
    """The scores of an artist's pictures under one suspect. Its fields are the keys of the file.

    Attributes:
        recipe: name of the recipe.
        dataset: name of the dataset.
        artist: folder of the pictures.
        half: the half that the suspect was trained on.
        files: the pictures.
        member: 1 for each that the suspect was trained on, else 0.
        contrast: the verdict's score of each picture, by the prompt that is asked with.
        mirror: score of the mirror test.
        parts: of each picture the contrast at the middle of each tenth of t, least noise first.
    """

    recipe: str
    dataset: str
    artist: str
    half: int
    files: tuple[str, ...]
    member: tuple[int, ...]
    contrast: dict[str, tuple[float, ...]]
    mirror: tuple[float, ...]
    parts: tuple[tuple[float, ...], ...]

    @property
    def for_mirror(self) -> MirrorScores:
        """What the mirror test's rates are counted from."""
        more = {"dataset": self.dataset, "concept": self.artist, "half": self.half, "training": self.recipe}
        return MirrorScores(**more, files=self.files, member=self.member, scores=self.mirror)


def run(o: argparse.Namespace) -> None:
    """Run the command: train and score what is missing, then count."""
    torch.set_num_threads(1)
    found = []
    for name, artists in read_recipes(o.recipes):
        for dataset, concept in draw_artists(o.data, o.work, artists):
            path = o.work / "scores" / f"{name}-{dataset}-{concept.name}.json"
            if not path.exists():
                scores = judge_artist(o.base, o.data, o.work, name, dataset, concept)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, json.dumps(asdict(scores)) + "\n")
            found.append(TypeAdapter(FlowScores).validate_json(path.read_text()))
            print(f"{name}, {concept.name}: AUC {area(found[-1:], 'right'):.3f}", flush=True)
    o.out.mkdir(parents=True, exist_ok=True)
    report = rounded({"base": weight_digests(str(o.base)), "recipes": [count_recipe(found, r) for r in RECIPES]})
    (o.out / "flow.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "flow.md").write_text(flow_text(report))
    groups = tuple(null_groups([s.for_mirror for s in found]))
    table = MirrorTable(base=tuple(sorted(report["base"])), draws=RunConfig().mirror_draws, groups=groups)
    (o.out / "mirror_nulls.json").write_text(json.dumps(rounded(table.model_dump())) + "\n")
    print(flow_text(report))


def read_recipes(text: str) -> list[tuple[str, int]]:
    """Read names of recipes with their numbers of artists: "sigmoid:12;shift:6".

    Raises:
        UserError: if a name is unknown, or a number is none.
    """
    pairs = [part.rpartition(":") for part in text.split(";")]
    for name, _, count in pairs:
        if name not in RECIPES or not count.isdecimal() or int(count) < 1:
            raise UserError("error_rates.unknown_recipe", given=f"{name}:{count}", accepted=list(RECIPES))
    return [(name, int(count)) for name, _, count in pairs]


def draw_artists(data: Path, work: Path, count: int) -> list[tuple[str, Concept]]:
    """Artists of the experiment, drawn by lot."""
    manifest = prepare(load_experiment(EXPERIMENT), data, work / "manifest.json")
    every = [(d, c) for d, found in manifest.datasets.items() for c in found.concepts]
    return sorted(every, key=lambda one: make_key(draw="flow", concept=[one[0], one[1].name]))[:count]


def judge_artist(base: Path, data: Path, work: Path, name: str, dataset: str, concept: Concept) -> FlowScores:
    """Train a LoRA on half of the artist's pictures and score both halves; every other recipe takes the other half."""
    recipe, half = RECIPES[name], list(RECIPES).index(name) % 2
    paths = [[locate_picture(data, p) for p in some] for some in concept.halves]
    folder = work / "loras" / f"{name}-{dataset}-{concept.name}"
    if not folder.exists():
        train_flow_lora(base, paths[half], folder, recipe)
    config = RunConfig()
    asked = PROMPTS if name == "sigmoid" else {"right": None}  # of one recipe the other prompts, too
    prompts = {label: recipe.prompt if prompt is None else prompt for label, prompt in asked.items()}
    pairs = {label: load_pair(str(base), str(folder), prompt) for label, prompt in prompts.items()}
    pair = pairs["right"]
    pictures = [read_picture(path, pair.resolution) for some in paths for path in some]
    with torch.no_grad():
        contrasts = {k: tuple(score_views(p, pictures, config)[0].tolist()) for k, p in pairs.items()}
        mirror = tuple(score.value for score in score_mirror(pair, pictures, config))
        parts = contrast_by_time(pair, pictures)
    return FlowScores(
        recipe=name,
        dataset=dataset,
        artist=concept.name,
        half=half,
        files=tuple(p.file for some in concept.halves for p in some),
        member=tuple(int(i == half) for i, some in enumerate(paths) for _ in some),
        contrast=contrasts,
        mirror=mirror,
        parts=parts,
    )


def contrast_by_time(pair: ModelPair, pictures: Sequence[Picture]) -> tuple[tuple[float, ...], ...]:
    """Eq. 7 of each picture at the middle of each tenth of t, under noise that all pictures share."""
    z = pair.codec.encode(torch.stack([p.image for p in pictures]))
    generator = torch.Generator().manual_seed(0)
    found = []
    for part in range(PARTS):
        t = torch.full((len(z),), int((part + 0.5) * len(pair.schedule) / PARTS))
        noises = torch.randn(DRAWS_OF_PART, 1, *z.shape[1:], generator=generator)
        found.append(torch.stack([contrast(pair, z, t, eps.expand_as(z)) for eps in noises]).mean(0))
    return tuple(tuple(row) for row in torch.stack(found, 1).tolist())


def count_recipe(found: Sequence[FlowScores], name: str) -> dict[str, Any]:
    """What one recipe's suspects give; AUCs are means over artists, each of members against holdouts."""
    some = [s for s in found if s.recipe == name]
    if not some:
        return {"recipe": name, "artists": 0}
    scored = [s.for_mirror for s in some]
    groups = null_groups(scored)
    mirror = summarise(decide(scored, groups), list(decide_sets(scored, groups)))
    return {
        "recipe": name,
        **asdict(RECIPES[name]),
        "artists": len(some),
        "contrast": {label: area_with_interval(some, label) for label in some[0].contrast},
        "mirror": {k: mirror[k] for k in ("AUC", "pictures", "sets of ten")},
        "by t": [
            {
                "t": (part + 0.5) / PARTS,
                "AUC": fmean(_area(s.member, _column(s, part)) for s in some),
                "gap": fmean(_gap(s.member, _column(s, part)) for s in some),
            }
            for part in range(PARTS)
        ],
    }


def _gap(member: Sequence[int], scores: Sequence[float]) -> float:
    """How much higher members lie than holdouts, on average."""
    used, unused = ([x for x, m in zip(scores, member, strict=True) if m == role] for role in (1, 0))
    return fmean(used) - fmean(unused)


def _column(s: FlowScores, part: int) -> list[float]:
    return [row[part] for row in s.parts]


def _area(member: Sequence[int], scores: Sequence[float]) -> float:
    return float(roc_auc_score(member, scores))


def area(found: Sequence[FlowScores], label: str) -> float:
    """The mean AUC over suspects."""
    return float(np.mean([_area(s.member, s.contrast[label]) for s in found]))


def area_with_interval(found: Sequence[FlowScores], label: str) -> dict[str, Any]:
    """The mean AUC with a 95 % bootstrap interval over artists, the worst artist's, and the mean gap of the scores."""
    areas = np.array([_area(s.member, s.contrast[label]) for s in found])
    drawn = np.random.default_rng(0).integers(len(areas), size=(RESAMPLES, len(areas)))
    low, high = np.quantile(areas[drawn].mean(1), [0.025, 0.975])
    found_gap = fmean(_gap(s.member, s.contrast[label]) for s in found)
    interval = [float(low), float(high)]
    return {"AUC": float(areas.mean()), "interval": interval, "worst": float(areas.min()), "gap": found_gap}


def flow_text(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    return f"LoRAs of the embedded flow model: `python -m eval flow-loras --data DIR`.\n\n{flow_tables(report)}"


def flow_tables(report: Mapping[str, Any]) -> str:
    """Three tables: the scores' AUC, the mirror test's rates, the contrast at one t. The docs show them, too."""
    recipes = [r for r in report["recipes"] if r["artists"]]
    prompts = [f"contrast, {label} prompt" for label in PROMPTS]
    areas = [
        [
            *(r["recipe"], r["artists"], *(_interval(r["contrast"].get(label)) for label in PROMPTS)),
            f"{r['mirror']['AUC']:.3f}",
        ]
        for r in recipes
    ]
    rates = [
        [r["recipe"], kind, f"{rate['level']:.0%}", _share(rate["false calls"]), _share(rate["power"])]
        for r in recipes
        for kind in ("pictures", "sets of ten")
        for rate in r["mirror"][kind]
    ]
    times = [[r["recipe"], *(f"{part['AUC']:.2f}" for part in r["by t"])] for r in recipes]
    largest = {r["recipe"]: max(part["gap"] for part in r["by t"]) for r in recipes}
    gaps = [[r["recipe"], *(f"{part['gap'] / largest[r['recipe']]:.2f}" for part in r["by t"])] for r in recipes]
    moments = [f"{(i + 0.5) / PARTS:.2f}" for i in range(PARTS)]
    parts = [
        "AUC of members against holdouts, mean over artists; intervals: bootstrap over artists, 95 %.\n"
        "Gap: how much higher members score.",
        markdown_table(("training", "artists", *prompts, "mirror test"), areas),
        "The mirror test; each picture is compared with the null scores of other artists:",
        markdown_table(("training", "judged", "level", "false calls", "power"), rates),
        "AUC of the contrast at one t (0: the picture, 1: noise):",
        markdown_table(("training", *moments), times),
        "How much more the suspect gains on members than on holdouts at one t, as a share of the most:",
        markdown_table(("training", *moments), gaps),
    ]
    return "\n\n".join(parts) + "\n"


def _interval(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['AUC']:.3f} ({low:.3f} to {high:.3f}; worst {found['worst']:.2f}; gap {found['gap']:.3f})"


def _share(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
