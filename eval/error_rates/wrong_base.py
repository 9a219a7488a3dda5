"""`python -m eval wrong-base`: what does it cost to judge a suspect against another base than its own?

Somebody trains the public model further on general pictures: a descendant. LoRAs and full models are made from the
base or from the descendant, and judged against the one or the other. The user knows neither; most files do not say. The
table of null scores is the shipped one, without the artist in question.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from sklearn.metrics import roc_auc_score

from cgidm.conductor import authentication_steps
from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.judging.distance import weight_distance
from cgidm.judging.mirror_test import table_reference
from cgidm.judging.scoring import score_mirror
from cgidm.judging.verdict import LEVEL
from cgidm.method.config import PRESETS
from cgidm.method.models import ModelPair
from cgidm.pictures.images import Picture, read_picture
from cgidm.run.plan import RunRequest
from cgidm.training.split import PictureFile, locate_picture, rank_by_seed
from cgidm.training.trained_model import ModelPlan, find_checkpoint, train_model, weight_digests
from cgidm.training.trainer import FinetuneConfig
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Ledger, Row, make_key
from eval.benchmark.plan import Suspect, plan_suspects
from eval.benchmark.stages import Setting
from eval.error_rates.altered import table_groups
from eval.error_rates.mirror_rates import artist_of, share_by_artist
from eval.error_rates.trust import rounded
from eval.error_rates.wild.rows import LABORATORY
from eval.markdown import markdown_table
from eval.options import default_workers

FOLDER = "wrong-base"  # below the working folder
# how a suspect was made, from what, and what it is judged against
CASES = (
    ("LoRA", "base", "base"),
    ("LoRA", "base", "descendant"),
    ("LoRA", "descendant", "descendant"),
    ("LoRA", "descendant", "base"),
    ("full model", "descendant", "descendant"),
    ("full model", "descendant", "base"),
)
DESCENDANT = FinetuneConfig(mode="dreambooth", steps=400, batch=4, learning_rate=1e-4, prompt="art style")
GENERAL_KINDS = ("coco", "openimages", "wikiart")  # of pictures that the descendant is trained on
GENERAL_PICTURES = 400
FULL_STEPS, FULL_RATE = 75, 2e-4  # of a full model, as in `mini-mirror`
JUDGED = 5  # used pictures under each suspect, as many unused ones, and as many that the descendant was trained on
ROLES = ("used", "unused", "general")


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """The mirror scores of one case, by `ROLES`, and what the library says of the first used pictures.

    Attributes:
        scores: by role.
        flags: raised for the first used picture.
        weight_distance: of a full model from what it is judged against.
    """

    scores: Mapping[str, tuple[float, ...]]
    flags: tuple[str, ...]
    weight_distance: float | None


@dataclass(frozen=True, kw_only=True)
class ArtistScores:
    """The scores of all cases, of one artist."""

    artist: str
    cases: tuple[CaseScores, ...]


@dataclass(frozen=True)
class WrongBaseJob:
    """Make the suspects of one artist, and judge them against both bases."""

    setting: Setting
    suspect: Suspect
    pictures: Mapping[str, tuple[PictureFile, ...]]  # by role
    general: tuple[PictureFile, ...]  # what the descendant is trained on

    @property
    def name(self) -> str:
        """The artist."""
        return self.suspect.concept

    @property
    def cost(self) -> int:
        """How many pictures are scored."""
        return len(CASES) * sum(map(len, self.pictures.values()))

    @property
    def path(self) -> Path:
        """The file of the scores."""
        made = [self.suspect.model.key(self.setting.base_weights), asdict(DESCENDANT), FULL_STEPS, FULL_RATE]
        judged = {role: [p.sha256 for p in of_role] for role, of_role in self.pictures.items()}
        general = [p.sha256 for p in self.general]
        key = make_key(made=made, judged=judged, general=general, cases=CASES, config=asdict(PRESETS["fast"]))
        return self.setting.work / FOLDER / f"{self.suspect.concept}-{key[:10]}.json"

    def run(self) -> Iterator[list[Row]]:
        """Make, judge, and write the file; the ledger gets no row."""
        bases = {"base": Path(self.setting.experiment.base), "descendant": make_descendant(self.setting, self.general)}
        cases = tuple(
            self._judge(self._make(how, bases[made_from]), bases[against]) for how, made_from, against in CASES
        )
        found = ArtistScores(artist=artist_of(self.suspect.pictures[0].file), cases=cases)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(asdict(found)) + "\n")
        yield []

    def _make(self, how: str, base: Path) -> Path:
        setting, plan = self.setting, self.suspect.model
        if how != "LoRA":
            config = replace(plan.config, mode="dreambooth", steps=FULL_STEPS, learning_rate=FULL_RATE)
            plan = ModelPlan(f"{plan.name}-full", config, plan.pictures)
        weights = weight_digests(str(base))
        train_model(plan, str(base), weights, setting.data, setting.work)
        return find_checkpoint(plan, weights, setting.work)

    def _judge(self, suspect: Path, base: Path) -> CaseScores:
        pair = load_pair(str(base), str(suspect), self.suspect.config.prompt)
        scores: dict[str, tuple[float, ...]] = {}
        flags: tuple[str, ...] = ()
        for role in ROLES:
            files = self.pictures[role]
            pictures = [read_picture(locate_picture(self.setting.data, p), pair.resolution) for p in files]
            scores[role] = tuple(s.value for s in score_mirror(pair, pictures, PRESETS["fast"]))
            flags = _raised_flags(pair, pictures[:1]) if role == "used" else flags
        return CaseScores(scores=scores, flags=flags, weight_distance=weight_distance(pair))


def make_descendant(setting: Setting, general: Sequence[PictureFile]) -> Path:
    """Train the base further on general pictures, unless that was done; the folder of the whole pipeline."""
    base, weights = Path(setting.experiment.base), setting.base_weights
    plan = ModelPlan("descendant", DESCENDANT, tuple(general))
    train_model(plan, str(base), weights, setting.data, setting.work)
    folder = plan.folder(setting.work, weights) / "pipeline"
    if not folder.exists():
        temporary = folder.with_name("unfinished")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(base, temporary)
        for part in find_checkpoint(plan, weights, setting.work).iterdir():
            shutil.rmtree(temporary / part.name)
            shutil.copytree(part, temporary / part.name)
        temporary.replace(folder)
    return folder


def run(o: argparse.Namespace) -> None:
    """Run the command: train and judge what is missing, then count."""
    experiment = load_experiment(o.experiment)
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    workers = o.workers or default_workers()
    halves = {(d, c.name): c.halves for d, found in manifest.datasets.items() for c in found.concepts}
    planned = [s for s in plan_suspects(experiment, manifest) if s.half == 0 and s.training == LABORATORY]
    chosen = sorted(planned, key=lambda s: make_key(draw="wrong base", concept=[s.dataset, s.concept]))[: o.suspects]
    general = general_pictures(o.data)
    jobs = []
    for s in chosen:
        drawn = [rank_by_seed(half, 0, "wrong base", s.concept)[:JUDGED] for half in halves[s.dataset, s.concept]]
        drawn.append(rank_by_seed(general, 0, "judged", s.concept)[:JUDGED])
        pictures: dict[str, tuple[PictureFile, ...]] = dict(zip(ROLES, map(tuple, drawn), strict=True))
        jobs.append(WrongBaseJob(setting, s, pictures, general))
    missing = [job for job in jobs if not job.path.exists()]
    if missing:
        make_descendant(setting, general)  # once, before several processes need it
    run_local(missing, ledger, workers, "picture")
    found = [TypeAdapter(ArtistScores).validate_json(job.path.read_text()) for job in jobs]
    rows = count_cases(found, setting.base_weights)
    report = rounded({"experiment": experiment.name, "suspects": o.suspects, "rows": rows})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "wrong-base.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "wrong-base.md").write_text(wrong_base_text(report))
    print(wrong_base_text(report), end="")


def general_pictures(data: Path) -> tuple[PictureFile, ...]:
    """Pictures of many kinds that the descendant is trained on, drawn by lot."""
    files = [f for kind in GENERAL_KINDS for f in sorted((data / "pretrain").glob(f"{kind}_*.jpg"))]
    listed = [PictureFile(f"pretrain/{f.name}", hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]
    return tuple(rank_by_seed(listed, 0, "descendant", "general")[:GENERAL_PICTURES])


def count_cases(found: Sequence[ArtistScores], base: Sequence[str]) -> list[dict[str, Any]]:
    """AUC, and the shares of pictures that the mirror test calls, for each case."""
    groups, rows = table_groups(base), []
    for number, (how, made_from, against) in enumerate(CASES):
        called: dict[str, list[tuple[str, bool]]] = {role: [] for role in ROLES}
        areas = []
        for artist in found:
            case, reference = artist.cases[number], table_reference([g for g in groups if g.artist != artist.artist])
            for role in ROLES:
                called[role] += [(artist.artist, reference.p_value(s) <= LEVEL) for s in case.scores[role]]
            known = [case.scores[role] for role in ("used", "unused")]
            areas.append(roc_auc_score(np.repeat([1, 0], list(map(len, known))), np.concatenate(known)))
        distances = [c.weight_distance for a in found if (c := a.cases[number]).weight_distance is not None]
        rows.append(
            {
                "suspect": how,
                "made from": made_from,
                "judged against": against,
                "AUC": fmean(areas),
                "scores": {role: fmean(s for a in found for s in a.cases[number].scores[role]) for role in ROLES},
                **{role: share_by_artist(called[role], min if role == "used" else max) for role in ROLES},
                "flags": sorted({flag for a in found for flag in a.cases[number].flags}),
                "weight distance": fmean(distances) if distances else None,
            }
        )
    return rows


def wrong_base_text(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    command = f"python -m eval wrong-base {report['experiment']} --suspects {report['suspects']} --data DIR"
    text = (
        f"Suspects judged against their own base and against another one: `{command}`. The descendant is the base, "
        f"trained for {DESCENDANT.steps} further steps on {GENERAL_PICTURES} general pictures. Mirror test at "
        f"{LEVEL:.0%}, single pictures. AUC: mean over artists, each artist's used against unused works. Intervals: "
        "bootstrap over artists, 95 %."
    )
    return f"{text}\n\n{wrong_base_table(report)}\n"


def wrong_base_table(report: Mapping[str, Any]) -> str:
    """A row for each case; the docs show it, too."""
    columns = ["suspect", "made from", "judged against", "AUC", "mean score: used, unused"]
    columns += ["used called", "unused called"]
    columns += ["the descendant's own pictures called", "flags", "weights moved"]
    rows = [
        [
            *(r[name] for name in ("suspect", "made from", "judged against")),
            f"{r['AUC']:.3f}",
            f"{r['scores']['used']:.2f}, {r['scores']['unused']:.2f}",
            *(_share(r[role]) for role in ROLES),
            ", ".join(r["flags"]) or "none",
            "" if r["weight distance"] is None else f"{r['weight distance']:.2%}",
        ]
        for r in report["rows"]
    ]
    return markdown_table(columns, rows)


def _raised_flags(pair: ModelPair, pictures: Sequence[Picture]) -> tuple[str, ...]:
    """The flags with which the first answer about pictures comes."""
    for event in authentication_steps(pair, RunRequest(pictures=pictures, config=PRESETS["fast"])):
        if event.phase == "answered" and event.result is not None:
            return tuple(f.name for r in event.result.pictures for f in r.flags)
    raise AssertionError("every run answers")


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
