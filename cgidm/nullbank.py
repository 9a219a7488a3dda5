"""A bank of null models: models whose training sets are known, made as the suspect was, and what they answer.

A suspect that has learnt a maker's style knows the maker's other pictures better than a stranger's, whether or not it
was trained on them. Against controls of other hands that looks like membership. So null models are trained on halves
of the maker's *own* pictures, drawn at random: each picture was left out by some of the models, and its score there is
what it would score under a suspect that was trained on its maker's other works. Who was used by the suspect itself
does not enter, so no picture need be known to be innocent.

The idea of null models with known training sets: Zhang et al. 2024 (arXiv 2409.19798), Carlini et al. 2022 (LiRA).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from .checks import Flag
from .config import RunConfig
from .errors import UserError
from .intake.notes import clean
from .verdict import LEVEL, conformal_p_value

FILE = "bank.json"
FORMAT = 1
ACCEPTED = f"accepted: a folder with {FILE}, as `python -m eval nullbank` writes it"
SHIFT_RANGE = 2.0


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BankPicture(_Strict):
    """A picture that the models were or were not trained on."""

    name: str
    sha256: str  # of the file's bytes


class NullModel(_Strict):
    """One model and what it answers about every picture of the bank."""

    folder: str  # below the bank's; its weights may have been left out to save room
    sha256: Mapping[str, str]  # weight file -> SHA-256
    trained_on: tuple[int, ...]  # indices of pictures
    scores: tuple[FiniteFloat, ...]  # the verdict's score of every picture
    shift: tuple[FiniteFloat, ...]  # `prediction_shift` of every picture


class NullBank(_Strict):
    """What `bank.json` says."""

    format: Literal[1]
    base: tuple[str, ...]  # SHA-256 of the base's weight files, sorted
    prompt: str
    recipe: Mapping[str, Any]  # how the models were trained; in words of the trainer
    decoys: bool = False  # trained on pictures of other hands: a learnt style can then pass for membership
    loss_draws: int
    seed: int
    pictures: tuple[BankPicture, ...]
    models: tuple[NullModel, ...]
    versions: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _whole(self) -> "NullBank":
        for model in self.models:
            if len(model.scores) != len(self.pictures) or len(model.shift) != len(self.pictures):
                raise ValueError(f"{model.folder} has not one score for each picture")
            if not all(0 <= i < len(self.pictures) for i in model.trained_on):
                raise ValueError(f"{model.folder} was trained on a picture that the bank does not list")
        return self

    @model_validator(mode="after")
    def _tells_something(self) -> "NullBank":
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

    def power(self, level: float = LEVEL) -> float:
        """The share of `members` that the nulls would let be called."""
        return sum(conformal_p_value(s, self.nulls) <= level and s > 0 for s in self.members) / len(self.members)

    @property
    def shifts(self) -> tuple[float, ...]:
        """How far each model has moved: the mean over all pictures."""
        return tuple(sum(m.shift) / len(m.shift) for m in self.models)


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
        """What a record says of it."""
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


def open_bank(folder: Path) -> Bank:
    """Read a bank.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    path = folder / FILE if folder.is_dir() else folder
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"bank {folder} cannot be read ({error.strerror}); {ACCEPTED}") from None
    return read_bank(data, path.resolve().parent.name)


def read_bank(data: bytes, name: str) -> Bank:
    """The bank that the bytes of a `bank.json` hold, wherever they come from.

    Raises:
        UserError: if they hold none.
    """
    try:
        return Bank(NullBank.model_validate_json(data), name, data)
    except ValidationError as error:
        said = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in said["loc"]) or "the whole"
        raise UserError(f"bank {name} is not one ({clean(where)}: {clean(said['msg'])}); {ACCEPTED}") from None


def check_bank(bank: Bank, fingerprints: Mapping[str, str], config: RunConfig, prompt: str | None = None) -> None:
    """Refuse a bank whose scores are not comparable with the run's; a `prompt` of None is not compared.

    Raises:
        UserError: if it was made for another base, prompt, or way of scoring.
    """
    made, fits = bank.content, "accepted: a bank made for the same"
    if not set(made.base) <= set(fingerprints.values()):
        raise UserError(f"bank {bank.name} was made for another base model; {fits}")
    if prompt is not None and prompt != made.prompt:
        theirs = clean(made.prompt)
        raise UserError(f"bank {bank.name} was made with the prompt {theirs!r}, {prompt!r} was given; {fits}")
    if len(config.views) > 1:
        raise UserError(f"bank {bank.name} has scores of pictures as they are, a search was asked for; {fits}")
    for name in ("loss_draws", "seed"):
        ours, theirs = getattr(config, name), getattr(made, name)
        if ours != theirs:
            raise UserError(f"bank {bank.name} was made with {name} {theirs}, the run has {ours}; {fits}")


OTHER_HANDS = Flag(
    "other_hands",
    "the bank's models were trained on pictures of other hands",
    "If the suspect was trained on other works of the same maker, its style alone can raise the score, "
    "and the p-value is then too small. Let the bank be made of the maker's own works.",
    False,
)
OTHER_RECIPE = Flag(
    "other_recipe",
    f"the suspect has moved from its base less than 1/{SHIFT_RANGE:g} of any null model's way, or more than "
    f"{SHIFT_RANGE:g} times it",
    "The suspect was trained more or less strongly than the bank's models, so their scores say nothing of its. Let the "
    "bank be made with the suspect's own steps.",
    True,
)


def bank_flags(bank: NullBank, shifts: Sequence[float]) -> tuple[Flag, ...]:
    """What speaks against comparing a suspect, of these shifts on the pictures in question, with the bank's models."""
    flags = [OTHER_HANDS] if bank.decoys else []
    if shifts:
        mean = sum(shifts) / len(shifts)
        if not min(bank.shifts) / SHIFT_RANGE <= mean <= max(bank.shifts) * SHIFT_RANGE:
            flags.append(OTHER_RECIPE)
    return tuple(flags)
