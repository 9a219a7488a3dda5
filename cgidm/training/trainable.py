"""Which bases and suspects null models are trained for: the rest is refused by name, before a weight is downloaded."""

from ..errors import UserError
from ..families.adapters import check_family
from ..families.conditioning import FAMILIES
from ..intake.family import CLASSES, JUDGED, guess_base
from ..intake.layout import Checkpoint

WITHOUT_TEXT = ("DDPMPipeline",)  # judged, and not trained: the trainer asks under a prompt
SHARED_SHAPES = {"AltDiffusion": ("SD 1.x", "SD 2.x")}  # whose UNets' shapes are those of another family
EMBEDDED = "StableDiffusionPipeline"  # whose one text encoder is taught words
UNNUMBERED = "another text encoder"  # a file's number of an encoder need not be the pipeline's


def check_trainable(base: Checkpoint, suspect: Checkpoint | None = None) -> None:
    """Refuse a base that null models are not trained on, and a suspect that they could not be compared with.

    Only names, configurations and headers are read.

    Args:
        base: the base model.
        suspect: the suspect, if there is one.

    Raises:
        UserError: if the base is no folder of diffusers of a family that is trained, the suspect is of another family,
            or it teaches a word to a base that is taught none.
    """
    given = str((base.config or {}).get("_class_name"))
    if base.kind != "pipeline":
        raise UserError("training.base_kind", name=base.name, kind=base.kind)
    if given not in FAMILIES or given in WITHOUT_TEXT:
        family = CLASSES.get(given) or f"{given:.80}"
        raise UserError("training.base_family", name=base.name, given=family, accepted=list(JUDGED))
    if suspect is not None:
        _check_suspect(base, suspect)
        if suspect.kind == "textual inversion" and given != EMBEDDED:
            raise UserError("training.embedding_family", given=CLASSES.get(given) or given)


def _check_suspect(base: Checkpoint, suspect: Checkpoint) -> None:
    check_family(suspect)
    guess = guess_base(suspect)
    own = CLASSES.get(str((base.config or {}).get("_class_name"))) or guess_base(base).family
    certain = next((vote.family for vote in guess.votes if vote.certain), None)
    networks = suspect.components if suspect.adapter is None else suspect.adapter.count()
    strange = next((n for n in networks if n not in base.components and n != UNNUMBERED), None)
    known = [] if certain is None else certain.split(" or ")  # two families may share all shapes
    alike = own is None or not known or own in known or bool({*known} & {*SHARED_SHAPES.get(own, ())})
    if strange is not None or not alike:
        named = guess.family if certain is not None or guess.family != own else None
        given = named or f"a model with {strange}"
        family = own or "another family"
        raise UserError("training.suspect_of_other", suspect=suspect.name, given=given, base=base.name, family=family)
