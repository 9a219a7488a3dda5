"""The recipe of a suspect, as far as it is known: what the user gives, what the file says, or the defaults."""

import re
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..intake.layout import Checkpoint
from ..intake.notes import read_notes
from .recipe import TrainingRecipe


@dataclass(frozen=True)
class SuspectRecipe:
    """How the null models are trained.

    Attributes:
        training: the recipe itself.
        images: how many pictures the suspect was trained on; None if unknown.
        sources: where each setting comes from, by its name. A setting without a source is a default.
    """

    training: TrainingRecipe
    images: int | None
    sources: dict[str, str]


def read_recipe(suspect: Checkpoint | None, given: dict[str, Any]) -> SuspectRecipe:
    """Infer the recipe of `suspect`.

    Args:
        suspect: the model whose header and metadata are read; no weights are opened.
        given: settings of `TrainingRecipe` (and `images`) that the user states. They win over the file.

    Raises:
        UserError: if models of the given mode could not be compared with the suspect.
    """
    found: dict[str, Any] = {}
    if suspect is not None:
        found["mode"] = _mode(suspect, given.get("mode"))
        if suspect.adapter is not None and len(suspect.adapter.ranks) == 1:
            found["rank"] = suspect.adapter.ranks[0]
        notes = read_notes(suspect.metadata).fields
        numbers = {k: n for k in ("training pictures", "steps", "learning rate") if (n := _number(notes.get(k)))}
        if "learning rate" in numbers:
            found["learning_rate"] = numbers["learning rate"]
        if "training pictures" in numbers:
            found["images"] = int(numbers["training pictures"])
            if "steps" in numbers:  # batch size is seldom noted: taken as 1
                found["steps_per_picture"] = max(1, round(numbers["steps"] / numbers["training pictures"]))
    sources = dict.fromkeys(found, "the suspect's file") | dict.fromkeys(given, "given")
    settings = found | given
    images = settings.pop("images", None)
    return SuspectRecipe(TrainingRecipe(**{"mode": "lora", **settings}), images, sources)


def _mode(suspect: Checkpoint, given: str | None) -> str:
    """The mode whose models are of the suspect's kind."""
    if suspect.kind == "textual inversion":
        raise UserError("training.textual_inversion", suspect=suspect.name)
    is_adapter = suspect.kind == "adapter"
    if given is not None and (given == "lora") != is_adapter:
        if is_adapter:
            raise UserError("training.mode_of_adapter", given=given, suspect=suspect.name)
        raise UserError("training.mode_of_network", given=given, suspect=suspect.name)
    return "lora" if is_adapter else "dreambooth"


def _number(text: str | None) -> float | None:
    match = re.fullmatch(r"\s*([0-9.]+(?:e[-+]?\d+)?)\s*", text or "")
    return float(match[1]) if match else None
