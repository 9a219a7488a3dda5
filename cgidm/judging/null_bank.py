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
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from ..errors import UserError
from ..method.config import RunConfig
from ..text import single_line
from .flags import Flag, make_flag
from .verdict import LEVEL, conformal_p_value

FILE = "bank.json"
FORMAT = 2  # 1 lacks `weight_shift`
ACCEPTED = f"accepted: a folder with {FILE}, as `cgidm bank` writes it"
RANGE = 1.2  # see `_within`
STRANGE_RANGE = 2.0  # of answers about pictures that the bank has not: these differ so much from picture to picture


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
    weight_shift: FiniteFloat | None = None  # None of an adapter


class NullBank(_Strict):
    """What `bank.json` says."""

    format: Literal[1, 2]
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
        if len({model.weight_shift is None for model in self.models}) > 1:
            raise ValueError("some models are adapters and some are whole networks")
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
    def whole(self) -> bool:
        """Are its models networks of their own, not adapters?"""
        return self.models[0].weight_shift is not None


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
        bank = Bank(NullBank.model_validate_json(data), name, data)
    except ValidationError as error:
        said = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in said["loc"]) or "the whole"
        raise UserError(
            f"bank {name} is not one ({single_line(where)}: {single_line(said['msg'])}); {ACCEPTED}"
        ) from None
    if bank.content.format == 1 and bank.content.recipe.get("mode") != "lora":
        raise UserError(
            f"bank {name} has format 1, which does not say how far the weights of its whole networks have moved, so "
            f"no suspect can be compared with them; accepted: format {FORMAT}, which the same `cgidm bank` "
            "writes when it is run again (models that are still there are scored again, not trained)"
        )
    return bank


def check_bank(
    bank: Bank, fingerprints: Mapping[str, str], whole: bool, config: RunConfig, prompt: str | None = None
) -> None:
    """Refuse a bank whose scores are not comparable with those of a run.

    The run's weights have these `fingerprints` (file -> SHA-256); its suspect is a `whole` network or an adapter. A
    `prompt` of None is not compared.

    Raises:
        UserError: if it was made for another base, prompt, kind of suspect, or way of scoring.
    """
    made, fits = bank.content, "accepted: a bank made for the same"
    if not set(made.base) <= set(fingerprints.values()):
        raise UserError(f"bank {bank.name} was made for another base model; {fits}")
    if prompt is not None and prompt != made.prompt:
        theirs = single_line(made.prompt)
        raise UserError(f"bank {bank.name} was made with the prompt {theirs!r}, {prompt!r} was given; {fits}")
    if made.whole != whole:
        kinds = {True: "a whole network", False: "an adapter"}
        theirs, ours = kinds[made.whole], kinds[whole]
        raise UserError(f"each model of bank {bank.name} is {theirs}, the suspect is {ours}; {fits}")
    if len(config.views) > 1:
        raise UserError(f"bank {bank.name} has scores of pictures as they are, a search was asked for; {fits}")
    for name in ("loss_draws", "seed"):
        ours, theirs = getattr(config, name), getattr(made, name)
        if ours != theirs:
            raise UserError(f"bank {bank.name} was made with {name} {theirs}, the run has {ours}; {fits}")


OTHER_HANDS = make_flag("other_hands", blocks_verdict=False)
OTHER_RECIPE = make_flag("other_recipe", factor=RANGE, factor_elsewhere=STRANGE_RANGE)


def bank_flags(bank: NullBank, shifts: Mapping[str, float], weight_shift: float | None) -> tuple[Flag, ...]:
    """What speaks against comparing a suspect with the bank's models.

    `shifts` are its `prediction_shift` by the SHA-256 of the pictures in question; of these count those that the bank
    has, too, if there are any, since how far answers move depends on the picture.
    """
    flags = (OTHER_HANDS,) if bank.decoys else ()
    known = [i for i, p in enumerate(bank.pictures) if p.sha256 in shifts]
    if bank.whole:
        assert weight_shift is not None, "`check_bank` refuses a suspect of another kind"
        alike = _within(weight_shift, [m.weight_shift for m in bank.models if m.weight_shift is not None], RANGE)
    elif known:
        mean = fmean(shifts[bank.pictures[i].sha256] for i in known)
        alike = _within(mean, [fmean(m.shift[i] for i in known) for m in bank.models], RANGE)
    else:  # none at all where a run was stopped
        alike = not shifts or _within(fmean(shifts.values()), [fmean(m.shift) for m in bank.models], STRANGE_RANGE)
    return flags if alike else (*flags, OTHER_RECIPE)


def _within(moved: float, models: Sequence[float], factor: float) -> bool:
    """Has the suspect moved as far as the models, whose own spread is the first allowance?

    With half of the presentations a whole network's weights have moved by up to 0.70 of the way, an adapter's answers
    by up to 0.55 (`assets/detectability.json`): `RANGE` must be narrower than that, and wider than models of one recipe
    differ. `python -m eval banks` counts both.
    """
    return min(models) / factor <= moved <= max(models) * factor
