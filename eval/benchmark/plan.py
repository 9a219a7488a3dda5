"""The plan of an experiment: which models are trained on which pictures, and scored on which. No tensor here."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from cgidm.resources import reference_files
from cgidm.training.split import PictureFile
from cgidm.training.trained_model import ModelPlan
from cgidm.training.trainer import FinetuneConfig
from eval.benchmark.datasets import Concept, Manifest
from eval.benchmark.experiment import Experiment
from eval.benchmark.ledger import make_key
from eval.benchmark.methods import Method, package_of

Role = Literal["trained", "unrelated", "innocent"]
HALVES = "ab"


@dataclass(frozen=True)
class Suspect:
    """A model that is fine-tuned on one half of a concept in one way."""

    dataset: str
    concept: str
    half: int  # 0 or 1
    training: str
    config: FinetuneConfig
    pictures: tuple[PictureFile, ...]
    base: str  # that it is fine-tuned from

    @property
    def name(self) -> str:
        """Of the suspect, unique in a run."""
        return f"{self.dataset}/{self.concept}-{HALVES[self.half]}-{self.training}"

    @property
    def model(self) -> ModelPlan:
        """The model to train; experiments that train the same model share its folder."""
        return ModelPlan(self.name, self.config, self.pictures)


@dataclass(frozen=True)
class Unit:
    """One suspect, the pictures of one concept, and the methods that score them."""

    dataset: str
    role: Role
    suspect: Suspect | None  # None: the base itself
    concept: Concept
    half: int  # that is taken for the training set
    prompt: str
    methods: tuple[str, ...]  # by their labels in the experiment
    base: str  # that the suspect is compared with

    @property
    def pictures(self) -> list[tuple[PictureFile, int, int]]:
        """Each picture, its half, and 1 if that half is taken for the training set, else 0."""
        return [(p, half, int(half == self.half)) for half in (0, 1) for p in self.concept.halves[half]]

    @property
    def suspect_name(self) -> str:
        """The suspect's; an innocent one is a suspect of its own for every concept."""
        return f"{self.dataset}/{self.concept.name}-base" if self.suspect is None else self.suspect.name

    @property
    def training(self) -> str:
        """How the suspect was trained; "none" of the base itself."""
        return "none" if self.suspect is None else self.suspect.training


def plan_suspects(experiment: Experiment, manifest: Manifest) -> list[Suspect]:
    """Return every model to train."""
    return [s for name in experiment.datasets for s in _suspects(experiment, manifest, name)]


def plan_units(experiment: Experiment, manifest: Manifest) -> list[Unit]:
    """Return a unit for every suspect on its own pictures, then the units of suspects that know nothing of theirs."""
    every = tuple(experiment.resolved())
    trained, chance = [], []
    for name in experiment.datasets:
        concepts = {c.name: c for c in manifest.datasets[name].concepts}
        for s in _suspects(experiment, manifest, name):
            trained.append(Unit(name, "trained", s, concepts[s.concept], s.half, s.config.prompt, every, s.base))
        chance += _chance_units(experiment, manifest, name)
    return [*trained, *chance]


def _suspects(experiment: Experiment, manifest: Manifest, name: str) -> Iterator[Suspect]:
    dataset = experiment.datasets[name]
    for training, how in experiment.trainings.items():
        for concept in manifest.datasets[name].concepts:
            for half in (0, 1) if dataset.split == "crossed" else (0,):
                pictures = concept.halves[half]
                settings = {"pictures": len(pictures), "seed": experiment.seed, **dataset.prompts(concept.name)}
                captions = how.draw_captions(settings["prompt"], pictures)
                config = how.configure(**settings, captions=captions)
                yield Suspect(name, concept.name, half, training, config, pictures, experiment.base_of(training))


def _chance_units(experiment: Experiment, manifest: Manifest, name: str) -> Iterator[Unit]:
    """Each concept judged under the suspects of the next one, and under the base as its own suspect."""
    if experiment.chance is None:
        return
    concepts, methods = manifest.datasets[name].concepts, experiment.chance.methods
    suspects = [s for s in _suspects(experiment, manifest, name) if s.training == experiment.chance.training]
    followers = {c.name: n.name for c, n in zip(concepts, [*concepts[1:], *concepts[:1]], strict=True)}
    for concept in concepts:
        own = next(s for s in suspects if s.concept == concept.name)
        if len(concepts) > 1:
            for s in suspects:
                if s.concept == followers[concept.name]:
                    yield Unit(name, "unrelated", s, concept, s.half, s.config.prompt, methods, s.base)
        yield Unit(name, "innocent", None, concept, 0, own.config.prompt, methods, own.base)


def answer_keys(
    unit: Unit,
    label: str,
    method: Method,
    experiment: Experiment,
    base_weights: Sequence[str],
    suspect_weights: Sequence[str],
    embedders: Sequence[str],
) -> list[str]:
    """Return the key of each picture's score. Whatever changes a score changes its key.

    The embedders at hand count only for methods that use them, so that fetching one does not undo the others.
    """
    common: dict[str, Any] = {
        "role": unit.role,
        "label": label,
        "method": repr(method),  # a frozen dataclass shows all its settings
        "embedders": sorted(embedders) if method.visual else [],
        "weights": [list(base_weights), list(suspect_weights)],
        "split": [p.sha256 for p in unit.suspect.pictures] if unit.suspect else [],
        # some measures look at the other pictures of a half, and rounding can depend on the batch
        "batch": [p.sha256 for p, _, _ in unit.pictures],
        "prompt": unit.prompt,
        "dtype": experiment.dtype,
        "seed": experiment.seed,
        "unit": [unit.dataset, unit.concept.name, unit.suspect_name],
    }
    if (package := package_of(method.name)) is not None:  # our own methods' scores keep their keys
        common["package"] = package
    if getattr(method, "asks_null_pictures", False):
        common["null pictures"] = _reference_digests()
    return [make_key(picture=p.sha256, member=member, **common) for p, _, member in unit.pictures]


@lru_cache(maxsize=1)
def _reference_digests() -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in reference_files()]
