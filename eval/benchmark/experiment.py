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
from cgidm.training.recipe import TrainingRecipe
from eval.benchmark.duplicates import Near
from eval.benchmark.methods import Method, find_method, method_names

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
    joined: str | None = None  # all concepts together are one of this name: a suspect of many makers
    pictures: int | None = None  # of each concept, drawn by the seed, half of them for each half; None: all
    prompt: str = "sks style"  # "{concept}" stands for the concept's name in words
    class_prompt: str = "art style"  # for the prior loss
    split: Literal["crossed", "one-sided"] = "crossed"
    near_duplicates: Near = "phash"  # which pictures are dropped before the split
    fetch: Literal["dreambooth", "wikiart"] | None = None  # where the pictures come from, if `folder` is not there

    def prompts(self, concept: str) -> dict[str, str]:
        """Return both prompts of a concept, with its name in words where `{concept}` stands."""
        words = " ".join(concept.replace("_", " ").replace("-", " ").rstrip("0123456789").split())
        return {
            "prompt": self.prompt.replace("{concept}", words),
            "class_prompt": self.class_prompt.replace("{concept}", words),
        }


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
    bases: dict[str, str] = {}  # of trainings that start from another base, by the training's name
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    datasets: dict[str, Dataset]
    trainings: dict[str, TrainingRecipe]
    methods: tuple[str | dict[str, Any], ...]  # by name; an object changes settings: {"method": "cgidm", "steps": 9}
    chance: Chance | None = None
    report: Report
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        """What could only be found out when all is computed is found out here."""
        known = self.resolved()
        for name, _ in (*self.report.pairs, *self.report.fused):
            if name not in ("", "fused", *known):
                raise UserError("benchmark.unknown_method", where="report", given=name, accepted=list(known))
        if unknown := [name for name in self.bases if name not in self.trainings]:
            raise UserError("benchmark.unknown_base_training", given=unknown[0], accepted=list(self.trainings))
        if self.chance is not None:
            if self.chance.training not in self.trainings:
                raise UserError(
                    "benchmark.unknown_chance_training", given=self.chance.training, accepted=list(self.trainings)
                )
            if unknown := [m for m in self.chance.methods if m not in known]:
                raise UserError("benchmark.unknown_method", where="chance", given=unknown[0], accepted=list(known))
            if lacking := [m for m, _ in self.report.fused if m not in self.chance.methods]:
                raise UserError("benchmark.fused_needs_chance", method=lacking[0])
        return self

    def base_of(self, training: str) -> str:
        """The base that a training starts from."""
        return self.bases.get(training, self.base)

    def resolved(self) -> dict[str, Method]:
        """The methods with their settings, by the names that the tables use.

        An entry {"method": NAME, "as": LABEL, SETTING: VALUE, ...} is the method NAME with those settings.
        """
        found: dict[str, Method] = {}
        for entry in self.methods:
            settings = {"method": entry} if isinstance(entry, str) else dict(entry)
            name = str(settings.pop("method", None))
            if name not in (accepted := method_names()):
                raise UserError("benchmark.unknown_method", where="methods", given=name, accepted=accepted)
            label = settings.pop("as", name)
            if label in found:
                raise UserError("benchmark.method_twice", label=label)
            found[label] = _with_settings(find_method(name), settings)
        return found


def _with_settings(method: Any, settings: Mapping[str, Any]) -> Method:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    try:
        return replace(method, **values)
    except TypeError as error:
        raise UserError("benchmark.method_settings", method=method.name, reason=str(error)) from error


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
        raise UserError("benchmark.experiment_not_found", given=given, accepted=presets) from None
    except json.JSONDecodeError as error:
        raise UserError("benchmark.experiment_not_json", path=str(path), reason=str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        cause = first.get("ctx", {}).get("error")
        problem = cause.note if isinstance(cause, UserError) else first["msg"]
        given_text = str(first["input"])[:80]
        facts = {"path": str(path), "where": where, "problem": problem, "given": given_text}
        raise UserError("benchmark.experiment_invalid", **facts) from None
