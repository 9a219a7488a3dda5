"""The recipe of a suspect, as far as it is known: what the user gives, what the file says, or the defaults."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from ..errors import UserError
from ..framing.table import framing_to_table
from ..intake.adapters import Adapter
from ..intake.layout import Checkpoint
from ..intake.likely_framing import noted_framing
from ..intake.note_values import read_number
from ..intake.notes import read_notes
from ..intake.training_amount import TrainingAmount, read_amount
from ..intake.training_notes import read_training, replaced_rank
from .recipe import TrainingRecipe
from .settings import BOUNDS, is_in_bounds

COMMON_RATE, PRODIGY_RATE = 1e-4, 1.0  # of LoRAs, with AdamW and with Prodigy
EMBEDDING_RATE = 5e-4  # of textual inversions, in the guide of diffusers' script
LARGEST_RATE = 0.1  # AdamW diverges at larger ones; optimisers that find their rate have 1
# modules that are convolutions, as diffusers, kohya and sgm name them
CONVOLUTION = re.compile(r"conv1|conv2|conv_shortcut|in_layers|out_layers|(?:up|down)samplers")
FEED_FORWARD, PROJECTION = re.compile(r"ff[._]net"), re.compile(r"proj_in|proj_out")
ATTENTION = re.compile(r"attn|attention")  # of a transformer
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
        UserError: if models of the given mode could not be compared with the suspect, or a setting is out of bounds.
    """
    found: dict[str, Any] = {}
    unknown = None
    if suspect is not None:
        found["mode"] = _mode(suspect, given.get("mode"))
        noted = read_training(suspect.metadata)
        found |= _amount(read_amount(suspect.metadata)) | noted.settings
        if suspect.adapter is not None:
            found |= _of_adapter(suspect.adapter, read_number(read_notes(suspect.metadata).fields.get("rank")))
            if (trained := replaced_rank(suspect.adapter, suspect.metadata)) is not None and "alpha" in found:
                found["alpha"] *= found["rank"] / trained  # the scale of the training
        else:
            found.pop("alpha", None)  # of adapters alone
        if suspect.kind == "textual inversion":
            found |= _of_embedding(suspect)
        if (framing := noted_framing(suspect.metadata)) is not None:
            found["framing"] = framing_to_table(framing)
        notes = read_notes(suspect.metadata)
        if notes.mirrored:
            found["defence"] = "flip"
        if (rate := read_number(notes.fields.get("learning rate"))) is not None and rate > 0:
            found["learning_rate"] = rate
        unknown = noted.optimizer_text.partition("(")[0] if noted.optimizer is None and noted.optimizer_text else None
        if noted.optimizer_text is None and found.get("learning_rate", 0) > LARGEST_RATE:
            unknown = f"the optimiser that has the rate {found['learning_rate']:g}, and is not noted,"
        found = {k: v for k, v in found.items() if k not in BOUNDS or is_in_bounds(k, v)}
        found = _with_given(found, given)
    sources = dict.fromkeys(found, "the suspect's file") | dict.fromkeys(given, "given")
    if found.get("optimizer") == "adamw8bit" and "optimizer" not in given and find_spec("bitsandbytes") is None:
        found["optimizer"] = "adamw"
        sources["optimizer"] = "the suspect's in 32 bits, since bitsandbytes is not installed"
    # its presentations mean something else at another rate
    if unknown is not None and not {"learning_rate", "optimizer"} & given.keys():
        found["learning_rate"] = COMMON_RATE
        sources["learning_rate"] = f"a common one, since {unknown} is not trained with here"
        for name in {"steps_per_picture", "text_learning_rate"} - given.keys():
            found.pop(name, None)
            sources.pop(name, None)
    settings = found | given
    if suspect is not None and "learning_rate" not in settings and settings["mode"] in ("lora", "textual-inversion"):
        common = COMMON_RATE if settings["mode"] == "lora" else EMBEDDING_RATE
        settings["learning_rate"] = PRODIGY_RATE if settings.get("optimizer") == "prodigy" else common
        sources["learning_rate"] = "a common one, since none is noted"
    if suspect is not None and suspect.adapter is not None and "times" not in settings:
        if any(component == "transformer" for component, _ in suspect.adapter.modules):
            settings["times"], sources["times"] = "sigmoid", "the usual law of rectified flow, since none is noted"
    images = settings.pop("images", None)
    if images is not None and images < 1:
        raise UserError("training.out_of_bounds", setting="images", given=images, least=1, most="any number")
    try:
        training = TrainingRecipe(**{"mode": "lora", **settings})
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error")
        raise (cause if isinstance(cause, UserError) else error) from None
    return SuspectRecipe(training, images, sources)


def _mode(suspect: Checkpoint, given: str | None) -> str:
    """The mode whose models are of the suspect's kind."""
    if suspect.kind == "textual inversion":
        if given is not None:
            raise UserError("training.mode_of_embedding", given=given, suspect=suspect.name)
        return "textual-inversion"
    is_adapter = suspect.kind == "adapter"
    if given is not None and (given == "lora") != is_adapter:
        if is_adapter:
            raise UserError("training.mode_of_adapter", given=given, suspect=suspect.name)
        raise UserError("training.mode_of_network", given=given, suspect=suspect.name)
    return "lora" if is_adapter else "dreambooth"


def _of_embedding(suspect: Checkpoint) -> dict[str, Any]:
    """The word of a textual inversion, and how many vectors it has."""
    embedding = suspect.embedding
    assert embedding is not None
    if len(embedding.keys) > 1:
        raise UserError("training.embedding_of_two_encoders", suspect=suspect.name, encoders=len(embedding.keys))
    return {"word": embedding.word, "vectors": embedding.vectors}


def _with_given(found: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is noted, without what a given setting makes meaningless.

    Rates and presentations belong to an optimiser. Alpha belongs to a rank: their ratio is the scale.
    """
    kept = dict(found)
    if given.get("optimizer", found.get("optimizer")) != found.get("optimizer"):
        for name in ("learning_rate", "text_learning_rate", "steps_per_picture"):
            kept.pop(name, None)
    if "rank" in given and "alpha" in found and "rank" in found:
        kept["alpha"] = found["alpha"] * given["rank"] / found["rank"]
    return kept


def _of_adapter(adapter: Adapter, noted_rank: float | None) -> dict[str, Any]:
    """What the tensors of an adapter's file show of its training."""
    kinds = {"DoRA": "dora", "LoHa": "loha", "LoHa + DoRA": "loha", "LoKr": "lokr", "LoKr + DoRA": "lokr"}
    of_network = [module for component, module in adapter.modules if component == "unet"]
    of_transformer = [module for component, module in adapter.modules if component == "transformer"]
    found: dict[str, Any] = {
        "adapter": kinds.get(adapter.method, "lora"),  # full differences, too: nothing nearer is trained
        "layers": _transformer_layers(of_transformer) if of_transformer else _layers(of_network),
        "text_encoder": any(component.startswith("text_encoder") for component, _ in adapter.modules),
    }
    if len(adapter.ranks) == 1:
        found["rank"] = adapter.ranks[0]
    elif noted_rank is not None and noted_rank >= 1:
        found["rank"] = int(noted_rank)
    elif adapter.ranks:
        found["rank"] = adapter.ranks[-1]
    return found


def _layers(modules: Sequence[str]) -> str:
    """The set of layers that these modules of the network are of."""

    def holds(pattern: re.Pattern[str]) -> bool:
        return any(pattern.search(module) for module in modules)

    if holds(CONVOLUTION):
        return "everything" if holds(FEED_FORWARD) else "all"
    return "transformer" if holds(FEED_FORWARD) or holds(PROJECTION) else "attention"


def _transformer_layers(modules: Sequence[str]) -> str:
    """The same of a transformer, which has no convolutions."""
    return "attention" if all(ATTENTION.search(module) for module in modules) else "transformer"


def _amount(amount: TrainingAmount) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if amount.pictures is not None:
        found["images"] = amount.pictures
    if amount.presentations is not None:
        found["steps_per_picture"] = max(1, round(amount.presentations))
    if amount.batch is not None and amount.batch <= LARGEST_BATCH:
        found["batch"] = amount.batch
    return found
