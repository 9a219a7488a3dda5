"""The two stages that compute: fine-tune every suspect, then score every picture. Both go on where they stopped.

A stage is a list of jobs that do not depend on each other; an engine runs them. A job looks for what is missing when
it starts, so it can be run again, by anybody, at any time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.families import load_pair
from cgidm.method.models import ModelPair
from cgidm.pictures.embedders import Embedder, load_embedders
from cgidm.pictures.images import read_picture
from cgidm.resources import reference_files
from cgidm.training.split import locate_picture
from cgidm.training.trained_model import find_checkpoint, find_damage, train_model, weight_digests
from eval.benchmark.datasets import Manifest
from eval.benchmark.experiment import Experiment
from eval.benchmark.ledger import Ledger, Row
from eval.benchmark.methods import Case, Method
from eval.benchmark.plan import Suspect, Unit, answer_keys, plan_suspects, plan_units


@dataclass(frozen=True)
class Setting:
    """What every job of a run shares."""

    experiment: Experiment
    data: Path  # the folder that the datasets' folders are in
    work: Path  # suspects

    @property
    def base_weights(self) -> tuple[str, ...]:
        """SHA-256 of the weight files of the experiment's base."""
        return weight_digests(self.experiment.base)

    def checkpoint(self, suspect: Suspect) -> Path:
        """The checkpoint of a trained suspect.

        Raises:
            UserError: if it is not trained, or damaged.
        """
        return find_checkpoint(suspect.model, weight_digests(suspect.base), self.work)


@dataclass(frozen=True)
class TrainJob:
    """Train one suspect."""

    setting: Setting
    suspect: Suspect

    @property
    def name(self) -> str:
        """The suspect's."""
        return self.suspect.name

    @property
    def cost(self) -> int:
        """Pictures shown in training."""
        return self.suspect.config.steps * self.suspect.config.batch

    def run(self) -> Iterator[list[Row]]:
        """Train what is missing; the ledger gets no rows."""
        train_model(
            self.suspect.model,
            self.suspect.base,
            weight_digests(self.suspect.base),
            self.setting.data,
            self.setting.work,
        )
        yield []


@dataclass(frozen=True)
class ScoreJob:
    """Score one unit by those of its methods whose scores are missing."""

    setting: Setting
    unit: Unit
    keys: Mapping[str, tuple[str, ...]]  # method -> keys of the unit's pictures

    @property
    def name(self) -> str:
        """Suspect and pictures."""
        return f"{self.unit.suspect_name} on {self.unit.concept.name}"

    @property
    def cost(self) -> int:
        """Network evaluations."""
        methods = self.setting.experiment.resolved()
        return sum(methods[label].evaluations for label in self.keys) * len(self.unit.pictures)

    def run(self) -> Iterator[list[Row]]:
        """Yield each method's rows as soon as they are computed."""
        case, methods = load_case(self.setting, self.unit), self.setting.experiment.resolved()
        for label, keys in self.keys.items():
            yield self._rows(label, keys, case, methods[label])

    def _rows(self, label: str, keys: Sequence[str], case: Case, method: Method) -> list[Row]:
        unit, rows = self.unit, []
        for answer in method(case):
            for key, (picture, _, member), score in zip(keys, unit.pictures, answer.scores.tolist(), strict=True):
                whose = (unit.dataset, unit.role, unit.concept.name, unit.suspect_name, unit.training)
                what = (label, answer.measure, answer.evaluations)
                rows.append(Row(key, *whose, picture.file, member, *what, score))
        return rows


def train_jobs(setting: Setting, manifest: Manifest) -> list[TrainJob]:
    """One for each suspect that is not trained yet, or damaged."""
    suspects = plan_suspects(setting.experiment, manifest)
    missing = [s for s in suspects if find_damage(s.model.folder(setting.work, weight_digests(s.base))) is not None]
    return [TrainJob(setting, s) for s in missing]


def score_jobs(setting: Setting, manifest: Manifest, ledger: Ledger) -> list[ScoreJob]:
    """One for each unit that lacks an answer.

    Raises:
        UserError: if a suspect is not trained, or damaged.
    """
    jobs = []
    for unit, keys in _all_keys(setting, manifest):
        missing = {label: k for label, k in keys.items() if ledger.missing(k)}
        if missing:
            jobs.append(ScoreJob(setting, unit, missing))
    return jobs


def collect(setting: Setting, manifest: Manifest, ledger: Ledger) -> tuple[list[Row], int]:
    """The ledger's rows of exactly this experiment, in its order, and how many answers are missing yet."""
    held: dict[str, list[Row]] = {}
    for row in ledger.rows():
        held.setdefault(row.key, []).append(row)
    wanted = [k for _, keys in _all_keys(setting, manifest) for of_method in keys.values() for k in of_method]
    return [row for key in wanted for row in held.get(key, ())], sum(key not in held for key in wanted)


def describe_cost(experiment: Experiment, manifest: Manifest) -> str:
    """What a run from nothing takes, in network evaluations."""
    suspects, units = plan_suspects(experiment, manifest), plan_units(experiment, manifest)
    shown = sum(s.config.steps * s.config.batch for s in suspects)
    pictures = sum(len(unit.pictures) for unit in units)
    lines = [f"{len(suspects)} suspects to train ({shown:,} pictures shown), {len(units)} units, {pictures} decisions"]
    total = 0
    for label, method in experiment.resolved().items():
        asked = sum(len(unit.pictures) for unit in units if label in unit.methods)
        total += (cost := asked * method.evaluations)
        lines.append(f"{label:28s}{asked:>7,} decisions x {method.evaluations:>6,} = {cost:>13,} network evaluations")
    return "\n".join([*lines, f"{'all':28s}{total:>43,}"])


def load_case(setting: Setting, unit: Unit) -> Case:
    """Load both models, the pictures, and whatever else a method may look at."""
    experiment, device = setting.experiment, "cuda" if torch.cuda.is_available() else "cpu"
    suspect = unit.base if unit.suspect is None else str(setting.checkpoint(unit.suspect))
    dtype = getattr(torch, experiment.dtype)

    def load(prompt: str) -> ModelPair:
        return load_pair(unit.base, suspect, prompt, device=device, dtype=dtype)

    pair = load(unit.prompt)
    pictures = [read_picture(locate_picture(setting.data, p), pair.resolution) for p, _, _ in unit.pictures]
    images = torch.stack([p.image for p in pictures]).to(pair.device)
    return Case(
        pair=pair,
        blank=lru_cache(maxsize=1)(lambda: load("")),
        images=images,
        z=pair.codec.encode(images),
        sha256=tuple(p.sha256 for p in pictures),
        groups=torch.tensor([half for _, half, _ in unit.pictures]),
        embedders=_embedders(device),
        seed=experiment.seed,
        null_pictures=lambda: _encode_null_pictures(unit.base, device, dtype),
    )


@lru_cache(maxsize=1)  # the same for every suspect of a base
def _encode_null_pictures(base: str, device: str, dtype: torch.dtype) -> Float[Tensor, "m c h w"]:
    """Encode the shipped reference pictures, which no suspect was trained on."""
    pair = load_pair(base, base, "", device=device, dtype=dtype)
    pictures = [read_picture(path, pair.resolution).image.to(pair.device) for path in reference_files()]
    with torch.no_grad():
        return torch.cat([pair.codec.encode(image[None]) for image in pictures])


def _all_keys(setting: Setting, manifest: Manifest) -> Iterator[tuple[Unit, dict[str, tuple[str, ...]]]]:
    """Every unit with the keys of its answers, by method."""
    methods = setting.experiment.resolved()
    embedders = sorted(_embedders("cpu"))
    for unit in plan_units(setting.experiment, manifest):
        base = weight_digests(unit.base)
        weights = base if unit.suspect is None else weight_digests(str(setting.checkpoint(unit.suspect)))
        common = (setting.experiment, base, weights, embedders)
        yield unit, {name: tuple(answer_keys(unit, name, methods[name], *common)) for name in unit.methods}


@lru_cache(maxsize=2)
def _embedders(device: str) -> Mapping[str, Embedder]:
    return load_embedders(device).ready
