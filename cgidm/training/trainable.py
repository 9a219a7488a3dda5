"""Which bases and suspects null models are trained for: the rest is refused by name, before a weight is downloaded."""

from ..errors import UserError
from ..families.adapters import check_family
from ..intake.family import CLASSES, guess_base
from ..intake.layout import Checkpoint

PIPELINE = "StableDiffusionPipeline"  # what the trainer trains
FAMILIES = ("SD 1.x", "SD 2.x")  # the families of that pipeline
OTHER_NETWORKS = ("transformer", "text_encoder_2", "text_encoder_3", "another text encoder")  # that it lacks


def check_trainable(base: Checkpoint, suspect: Checkpoint | None = None) -> None:
    """Refuse a base that null models are not trained on, and a suspect that they could not be compared with.

    Only names, configurations and headers are read.

    Args:
        base: the base model.
        suspect: the suspect, if there is one.

    Raises:
        UserError: if the base is no folder of diffusers' Stable Diffusion, or the suspect is of another family.
    """
    given = str((base.config or {}).get("_class_name"))
    family = CLASSES.get(given) or guess_base(base).family
    if base.is_full_network and given != PIPELINE and (base.kind == "pipeline" or family not in (None, *FAMILIES)):
        raise UserError("training.base_family", name=base.name, given=family or f"{given:.80}", accepted=list(FAMILIES))
    if base.kind != "pipeline":
        raise UserError("training.base_kind", name=base.name, kind=base.kind)
    if suspect is not None:
        _check_suspect(base, suspect)


def _check_suspect(base: Checkpoint, suspect: Checkpoint) -> None:
    check_family(suspect)
    guess, own = guess_base(suspect), guess_base(base).family
    certain = next((vote.family for vote in guess.votes if vote.certain), None)
    networks = suspect.components if suspect.adapter is None else suspect.adapter.count()
    strange = next((network for network in networks if network in OTHER_NETWORKS), None)
    family = guess.family if certain is not None or guess.family not in FAMILIES else None
    if strange is not None or certain not in (None, *FAMILIES):
        given = family or f"a model with {strange}"
        raise UserError("training.suspect_family", suspect=suspect.name, given=given, accepted=list(FAMILIES))
    if certain is not None and own is not None and certain != own:
        raise UserError("training.suspect_of_other", suspect=suspect.name, given=certain, base=base.name, family=own)
