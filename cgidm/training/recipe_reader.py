"""The recipe of a suspect, as far as it is known: what the user gives, what the file says, or the defaults."""

import re
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..framing.table import framing_to_table
from ..intake.layout import Checkpoint
from ..intake.likely_framing import noted_framing
from ..intake.note_values import read_number
from ..intake.notes import read_notes
from ..intake.training_amount import TrainingAmount, read_amount
from .recipe import TrainingRecipe

# optimisers that find their own rate, whatever is noted
ADAPTIVE = re.compile(r"prodigy|d-?adapt\w*|adafactor(?=.*relative_step=True)", re.IGNORECASE)
COMMON_RATE = 1e-4  # of LoRAs, with AdamW
LARGEST_BATCH = 1024  # a larger one is no batch


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
    adaptive = None
    if suspect is not None:
        found["mode"] = _mode(suspect, given.get("mode"))
        if suspect.adapter is not None and len(suspect.adapter.ranks) == 1:
            found["rank"] = suspect.adapter.ranks[0]
        found |= _amount(read_amount(suspect.metadata))
        if (framing := noted_framing(suspect.metadata)) is not None:
            found["framing"] = framing_to_table(framing)
        notes = read_notes(suspect.metadata).fields
        adaptive = ADAPTIVE.search(notes.get("optimiser", ""))
        if adaptive is None and (rate := read_number(notes.get("learning rate"))):
            found["learning_rate"] = rate
    sources = dict.fromkeys(found, "the suspect's file") | dict.fromkeys(given, "given")
    if adaptive is not None and "learning_rate" not in given:  # its presentations mean something else at another rate
        found["learning_rate"] = COMMON_RATE
        sources["learning_rate"] = f"a common one, since {adaptive[0]} finds its own"
        if "steps_per_picture" not in given:
            found.pop("steps_per_picture", None)
            sources.pop("steps_per_picture", None)
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


def _amount(amount: TrainingAmount) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if amount.pictures is not None:
        found["images"] = amount.pictures
    if amount.presentations is not None:
        found["steps_per_picture"] = max(1, round(amount.presentations))
    if amount.batch is not None and amount.batch <= LARGEST_BATCH:
        found["batch"] = amount.batch
    return found
