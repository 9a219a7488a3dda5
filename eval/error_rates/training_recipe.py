"""How a suspect was trained, as far as can be known: what the user says, what its file says, or the defaults."""

import re
from dataclasses import dataclass
from typing import Any

from cgidm.errors import UserError
from cgidm.intake.layout import Checkpoint
from cgidm.intake.notes import read_notes
from eval.benchmark.experiment import Training


@dataclass(frozen=True)
class Recipe:
    """How the null models are trained, and where each of its numbers comes from."""

    training: Training
    images: int | None  # that the suspect was trained on; None: half of those given
    sources: dict[str, str]


def read_recipe(suspect: Checkpoint | None, given: dict[str, Any]) -> Recipe:
    """What is `given`, else what the suspect's file says or shows, else the trainer's defaults.

    Raises:
        UserError: if models made so could not be compared with the suspect.
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
    return Recipe(Training(**{"mode": "lora", **settings}), images, sources)


def _mode(suspect: Checkpoint, given: str | None) -> str:
    """The mode whose models are of the suspect's kind."""
    if suspect.kind == "textual inversion":
        raise UserError(f"{suspect.name} is a textual inversion; accepted: an adapter or a whole network")
    own, kind = ("lora", "an adapter") if suspect.kind == "adapter" else ("dreambooth", "a whole network")
    if given is not None and (given == "lora") != (own == "lora"):
        fitting = own if own == "lora" else "dreambooth or dreambooth-prior"
        raise UserError(f"mode {given} was given, the suspect {suspect.name} is {kind}; accepted: {fitting}")
    return own


def _number(text: str | None) -> float | None:
    match = re.fullmatch(r"\s*([0-9.]+(?:e[-+]?\d+)?)\s*", text or "")
    return float(match[1]) if match else None
