"""A bank of null models: models whose training sets are known, made as the suspect was, and their scores.

A suspect that was trained on an artist's pictures knows the style of the artist, so it also knows the artist's other
pictures better than those of somebody else. Compared with controls by other artists, that looks like membership. So
null models are trained on random halves of the artist's *own* pictures. Each picture was left out by some of the
models, and its score there is its score under a suspect that was trained on the artist's other works. The suspect's own
training set is not needed: no picture has to be known to be unused.

The idea of null models with known training sets: Zhang et al. 2024 (arXiv 2409.19798), Carlini et al. 2022 (LiRA).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from ...errors import UserError
from ...framing.frame import CentreSquare, Framing
from ...framing.table import framing_of_table
from ...intake.likely_framing import LARGEST_SHARE, can_be_used
from ...messages.text import single_line
from ...method.config import RunConfig
from ...method.models import ModelPair
from ..flags import Flag, make_flag

FILE = "bank.json"
FORMAT = 3  # 1 lacks `weight_shift`, 2 has no scores of the mirror test
SAME_PICTURES_RANGE = 1.2  # see `is_within`
OTHER_PICTURES_RANGE = 2.0  # of predictions about other pictures than the bank's: they differ a lot between pictures


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class BankPicture(_Strict):
    """A picture that the models were or were not trained on."""

    name: str
    sha256: str  # of the file's bytes


class NullModel(_Strict):
    """One model, and its scores of every picture of the bank."""

    folder: str  # below the bank's; its weights may have been left out to save room
    sha256: Mapping[str, str]  # weight file -> SHA-256
    trained_on: tuple[int, ...]  # indices of pictures
    scores: tuple[FiniteFloat, ...]  # the verdict's score of every picture
    # `distance.prediction_distance` of every picture; the file has the older keys
    prediction_distances: tuple[FiniteFloat, ...] = Field(
        validation_alias=AliasChoices("prediction_distances", "shift"), serialization_alias="shift"
    )
    weight_distance: FiniteFloat | None = Field(  # None of an adapter
        None, validation_alias=AliasChoices("weight_distance", "weight_shift"), serialization_alias="weight_shift"
    )
    fillers: tuple[str, ...] = ()  # SHA-256 of the pictures by other hands that it was trained on, in their order
    # the mirror test's score of every picture; None of one that is its own mirror image. Empty: they were not computed
    mirror_scores: tuple[FiniteFloat | None, ...] = ()


class NullBank(_Strict):
    """The content of `bank.json`."""

    format: Literal[1, 2, 3]
    base: tuple[str, ...]  # SHA-256 of the base's weight files, sorted
    prompt: str
    recipe: Mapping[str, Any]  # how the models were trained; in words of the trainer
    decoys: bool = False  # trained on pictures by other artists: a learned style can then pass for membership
    loss_draws: int
    mirror_draws: int = Field(0, ge=0)  # 0: the mirror test's scores were not computed
    seed: int
    pictures: tuple[BankPicture, ...]
    models: tuple[NullModel, ...]
    versions: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _check_models(self) -> "NullBank":
        if self.mirror_draws and self.format < 3:
            raise ValueError(f"format {self.format} has no scores of the mirror test")
        for model in self.models:
            if len(model.scores) != len(self.pictures) or len(model.prediction_distances) != len(self.pictures):
                raise ValueError(f"{model.folder} has not one score for each picture")
            if len(model.mirror_scores) != (len(self.pictures) if self.mirror_draws else 0):
                raise ValueError(f"{model.folder} has not one score of the mirror test for each picture")
            if [s is None for s in model.mirror_scores] != [s is None for s in self.models[0].mirror_scores]:
                raise ValueError(f"{model.folder} lacks scores of the mirror test that other models have")
            if not all(0 <= i < len(self.pictures) for i in model.trained_on):
                raise ValueError(f"{model.folder} was trained on a picture that the bank does not list")
        if len({model.weight_distance is None for model in self.models}) > 1:
            raise ValueError("some models are adapters and some are full networks")
        return self

    @model_validator(mode="after")
    def _check_scores(self) -> "NullBank":
        if not self.nulls or not self.members:
            raise ValueError("no picture was left out by any model, or none was trained on")
        return self

    @cached_property
    def nulls(self) -> tuple[float, ...]:
        """The score of every picture under every model that was not trained on it."""
        return tuple(s for m in self.models for i, s in enumerate(m.scores) if i not in m.trained_on)

    @cached_property
    def members(self) -> tuple[float, ...]:
        """The score of every picture under every model that was trained on it."""
        return tuple(s for m in self.models for i, s in enumerate(m.scores) if i in m.trained_on)

    def scores_without(self, picture: int) -> list[float]:
        """The scores of one picture under the models that left it out."""
        return [m.scores[picture] for m in self.models if picture not in m.trained_on]

    def framing(self, resolution: int) -> Framing:
        """How its pictures were framed, in training and when they were scored.

        Args:
            resolution: of the base; a bank without a framing has centre squares.

        Raises:
            UserError: if its recipe states none that is known.
        """
        table = self.recipe.get("framing")
        return CentreSquare(resolution=resolution) if table is None else framing_of_table(table)

    @property
    def is_full_network(self) -> bool:
        """Whether each of its models has a network of its own, and is not an adapter."""
        return self.models[0].weight_distance is not None


@dataclass(frozen=True, eq=False)
class Bank:
    """A bank that was read, and the digest by which a verdict names it."""

    content: NullBank
    name: str
    data: bytes  # of `bank.json`

    @property
    def sha256(self) -> str:
        """Of `bank.json`."""
        return hashlib.sha256(self.data).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Describe it for a record."""
        made = self.content
        return {
            "name": self.name,
            "sha256": self.sha256,
            "models": len(made.models),
            "pictures": len(made.pictures),
            "nulls": len(made.nulls),
            "decoys": made.decoys,
            "recipe": dict(made.recipe),
        }


def open_bank(folder: str | Path) -> Bank:
    """Read the bank in a folder, or its `bank.json`.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    folder = Path(folder)
    path = folder / FILE if folder.is_dir() else folder
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError("judging.bank.unreadable", bank=str(folder), problem=error.strerror) from None
    return read_bank(data, path.resolve().parent.name)


def read_bank(data: bytes, name: str) -> Bank:
    """Read the bank that the bytes of a `bank.json` hold; `name` is how an error calls it.

    Raises:
        UserError: if they hold none.
    """
    try:
        bank = Bank(NullBank.model_validate_json(data), name, data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or FILE
        raise UserError(
            "judging.bank.damaged", bank=name, where=single_line(where), problem=single_line(first["msg"])
        ) from None
    if bank.content.format == 1 and bank.content.recipe.get("mode") != "lora":
        raise UserError("judging.bank.old_format", bank=name, format=1, expected=FORMAT)
    return bank


def check_bank(
    bank: Bank, fingerprints: Mapping[str, str], is_full_network: bool, config: RunConfig, prompts: Sequence[str] = ()
) -> None:
    """Refuse a bank whose scores are not comparable with those of a run.

    Args:
        bank: the null models.
        fingerprints: weight file -> SHA-256, of the run's base and suspect.
        is_full_network: whether the run's suspect is a full network, and not an adapter.
        config: the run's configuration.
        prompts: the run's; none are not compared. Its models were scored with one.

    Raises:
        UserError: if the bank was made for another base, prompt, kind of suspect, or way of scoring.
    """
    made, named = bank.content, bank.name
    if not set(made.base) <= set(fingerprints.values()):
        raise UserError("judging.bank.other_base", bank=named)
    if prompts and list(prompts) != [made.prompt]:
        given = " | ".join(map(single_line, prompts))
        raise UserError("judging.bank.other_prompt", bank=named, expected=single_line(made.prompt), given=given)
    if made.is_full_network != is_full_network:
        raise UserError(
            "judging.bank.of_full_networks" if made.is_full_network else "judging.bank.of_adapters", bank=named
        )
    if len(config.views) > 1:
        raise UserError("judging.bank.without_views", bank=named)
    for name in ("loss_draws", "seed"):
        given, expected = getattr(config, name), getattr(made, name)
        if given != expected:
            raise UserError("judging.bank.other_setting", bank=named, name=name, expected=expected, given=given)


OTHER_HANDS = make_flag("other_hands", blocks_verdict=False)
OTHER_RECIPE = make_flag(
    "other_recipe", concerns="controls", factor=SAME_PICTURES_RANGE, factor_elsewhere=OTHER_PICTURES_RANGE
)


def framing_for(pair: ModelPair, bank: Bank | None) -> Framing:
    """How pictures are framed in a run: as the suspect's training did, or as the null models' that judge it.

    Raises:
        UserError: if the bank states a framing whose pictures the models cannot take.
    """
    if bank is None:
        return pair.framing
    framing = bank.content.framing(pair.resolution)
    if not can_be_used(framing, LARGEST_SHARE * pair.resolution**2):
        raise UserError("judging.bank.framing", bank=bank.name, rule=str(bank.content.recipe.get("framing")))
    return framing


def bank_flags(bank: NullBank, distances: Mapping[str, float], weight_distance: float | None) -> tuple[Flag, ...]:
    """Find what speaks against comparing a suspect with the bank's models.

    The distance of predictions depends on the picture. So of the pictures in question only those that the bank has,
    too, are compared, if there are any.

    Args:
        bank: the null models.
        distances: `prediction_distance` of the suspect, by the SHA-256 of the pictures in question.
        weight_distance: that of the suspect, if it is a full network.
    """
    flags = (OTHER_HANDS,) if bank.decoys else ()
    known = [i for i, p in enumerate(bank.pictures) if p.sha256 in distances]
    models = bank.models
    if bank.is_full_network:
        assert weight_distance is not None, "`check_bank` refuses a suspect of another kind"
        of_models = [m.weight_distance for m in models if m.weight_distance is not None]
        similar = is_within(weight_distance, of_models, SAME_PICTURES_RANGE)
    elif known:
        mean = fmean(distances[bank.pictures[i].sha256] for i in known)
        of_models = [fmean(m.prediction_distances[i] for i in known) for m in models]
        similar = is_within(mean, of_models, SAME_PICTURES_RANGE)
    else:  # without any distance: the run was stopped
        of_models = [fmean(m.prediction_distances) for m in models]
        similar = not distances or is_within(fmean(distances.values()), of_models, OTHER_PICTURES_RANGE)
    return flags if similar else (*flags, OTHER_RECIPE)


def is_within(distance: float, of_models: Sequence[float], factor: float) -> bool:
    """Compare a suspect's distance from its base with the range of the models' distances, widened by `factor`.

    The factor must be wider than models of one recipe differ, and narrower than half of a training makes: after half of
    the presentations a full network's weights have up to 0.70 of their distance, an adapter's predictions up to 0.55
    (`assets/detectability.json`). `python -m eval banks` counts both.
    """
    return min(of_models) / factor <= distance <= max(of_models) * factor
