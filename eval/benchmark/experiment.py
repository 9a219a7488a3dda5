"""What is run: an experiment is one JSON file, and everything that its numbers depend on stands in it.

The same code runs Stable Diffusion on GPUs and the embedded model on two cores: only this file differs. The presets
are in `eval/presets/`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cgidm.errors import UserError
from eval.benchmark.duplicates import Near
from eval.benchmark.finetune import Defence, FinetuneConfig, Mode
from eval.benchmark.methods import METHODS, Method

PRESETS = Path(__file__).parents[1] / "presets"


class _Strict(BaseModel):
    """Frozen; a key that is not known is a mistake and not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Dataset(_Strict):
    """Concepts (artists or subjects), each a folder of pictures below `folder`, and how they are split.

    "crossed" trains on either half of a concept in turn, so that every picture is once a member and once a holdout and
    its difficulty cancels. "one-sided" trains on half A alone, as the paper does. Folders `member/` and `holdout/`
    inside a concept's fix its halves A and B; otherwise the seed draws them.
    """

    folder: str  # below the folder given by --data
    concepts: int | tuple[str, ...] | None = None  # the first so many by name, or those; None: all
    pictures: int | None = None  # of each concept, drawn by the seed, half of them for each half; None: all
    prompt: str = "sks style"  # "{concept}" stands for the concept's name in words
    class_prompt: str = "art style"  # for the prior loss
    split: Literal["crossed", "one-sided"] = "crossed"
    near_duplicates: Near = "phash"  # which pictures are dropped before the split
    fetch: Literal["dreambooth", "wikiart"] | None = None  # where the pictures come from, if `folder` is not there


class Training(_Strict):
    """One way of fine-tuning. The count of optimiser steps follows from the pictures."""

    mode: Mode
    steps_per_picture: int = 50  # how often each picture is presented (batch 1: the paper's steps for each image)
    batch: int = 1
    learning_rate: float = 2e-6
    prior_weight: float = 1.0
    prior_pictures: int = 20
    rank: int = 16  # LoRA only
    defence: Defence | None = None

    def config(self, dataset: Dataset, concept: str, pictures: int, seed: int) -> FinetuneConfig:
        """The fine-tuning of one suspect on so many pictures."""
        words = " ".join(concept.replace("_", " ").replace("-", " ").rstrip("0123456789").split())
        return FinetuneConfig(
            mode=self.mode,
            prompt=dataset.prompt.replace("{concept}", words),
            class_prompt=dataset.class_prompt.replace("{concept}", words),
            steps=max(1, round(self.steps_per_picture * pictures / self.batch)),
            batch=self.batch,
            learning_rate=self.learning_rate,
            prior_weight=self.prior_weight,
            prior_pictures=self.prior_pictures,
            rank=self.rank,
            defence=self.defence,
            seed=seed,
        )


class Chance(_Strict):
    """The rows that must sit at 0.5: an innocent suspect (the base itself) and one trained on another concept."""

    training: str  # whose suspects are the unrelated ones
    methods: tuple[str, ...]  # by the names they have in `methods`


class Report(_Strict):
    """How tables and figures are laid out. A pair names a method and a measure; "" is each method's own."""

    pairs: tuple[tuple[str, str], ...]  # that the figures show, and a table of one factor
    factor: Literal["training", "method", "dataset"] | None = None  # what the rows vary; None: laid out as Table 1
    values: tuple[str, ...] | None = None  # of the factor, in the order of the rows; None: all
    paper: str | None = None  # the table of eval/analysis/paper.json whose numbers stand beside
    fused: tuple[tuple[str, str], ...] = ()  # pairs that a rule fitted on other concepts combines
    note: str = ""


class Experiment(_Strict):
    """A whole experiment."""

    name: str
    about: str  # what it is for, which table or figure of the paper
    base: str  # as for `cgidm authenticate --base`
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    datasets: dict[str, Dataset]
    trainings: dict[str, Training]
    methods: tuple[str | dict[str, Any], ...]  # of METHODS; an object changes settings: {"method": "cgidm", "steps": 9}
    chance: Chance | None = None
    report: Report
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        """What could only be found out when all is computed is found out here."""
        known = self.resolved()
        for name, _ in (*self.report.pairs, *self.report.fused):
            if name not in ("", "fused", *known):
                raise ValueError(f"report: method {name!r} is not one of {', '.join(known)}")
        if self.chance is not None:
            if self.chance.training not in self.trainings:
                raise ValueError(f"chance.training {self.chance.training!r} is not one of {', '.join(self.trainings)}")
            if unknown := [m for m in self.chance.methods if m not in known]:
                raise ValueError(f"chance.methods {unknown[0]!r} is not one of {', '.join(known)}")
            if lacking := [m for m, _ in self.report.fused if m not in self.chance.methods]:
                raise ValueError(f"report.fused needs {lacking[0]!r} among chance.methods")
        return self

    def resolved(self) -> dict[str, Method]:
        """The methods with their settings, by the names that the tables use.

        An entry {"method": NAME, "as": LABEL, SETTING: VALUE, ...} is METHODS[NAME] with those settings.
        """
        found: dict[str, Method] = {}
        for entry in self.methods:
            settings = {"method": entry} if isinstance(entry, str) else dict(entry)
            name = settings.pop("method", None)
            if name not in METHODS:
                raise ValueError(f"method {name!r} is not known; accepted: {', '.join(METHODS)}")
            label = settings.pop("as", name)
            if label in found:
                raise ValueError(f'method {label!r} stands twice; give one of them another name with "as"')
            found[label] = _with_settings(METHODS[name], settings)
        return found


def _with_settings(method: Any, settings: Mapping[str, Any]) -> Method:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    try:
        return replace(method, **values)
    except TypeError as error:
        raise ValueError(f"method {method.name!r}: {error}") from error


def load_experiment(given: str) -> Experiment:
    """An experiment from a JSON file, or a preset by its name.

    Raises:
        UserError: if there is none, or it is not one; says where and what is accepted.
    """
    path = Path(given) if Path(given).suffix == ".json" else PRESETS / f"{given}.json"
    try:
        return Experiment.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        presets = sorted(p.stem for p in PRESETS.glob("*.json"))
        raise UserError(
            f"experiment {given!r} was not found; accepted: a .json file, or one of {', '.join(presets)}"
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(f"{path}: {where}: {first['msg']} (given: {str(first['input'])[:80]})") from None
