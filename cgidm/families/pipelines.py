"""Whole pipelines, built from what `intake` found: the base, and a suspect that was saved whole or by its training."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from ..errors import UserError
from ..intake.components import UNUSED
from ..intake.layout import ACCEPTED, Checkpoint
from .account import check_whole
from .bind import FAMILIES
from .single_file import load_single_file

TRAINED = {  # what a training run saves, and the class that reads it
    "unet": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}


def load_pipeline(checkpoint: Checkpoint, role: str, dtype: torch.dtype, **components: Any) -> Any:
    """A pipeline of a known class; `components` are not loaded again."""
    config = checkpoint.config or {}
    if config.get("_class_name") not in FAMILIES:
        given = f"{config.get('_class_name')!r:.80}"
        raise UserError(f"{role} model {checkpoint.name} is a {given}; accepted: {', '.join(FAMILIES)}")
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    spare = dict.fromkeys(UNUSED & config.keys())
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            checkpoint.fetch(), variant=checkpoint.variant, **options, **spare, **components
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise _unloadable(error, role, checkpoint) from error
    for name in checkpoint.components.keys() - components.keys():
        _account(getattr(pipeline, name), checkpoint, name)
    return pipeline


def _account(part: Any, checkpoint: Checkpoint, name: str) -> None:
    if isinstance(part, nn.Module):
        check_whole(part, checkpoint.of_component(name), f"{checkpoint.name}, {name}")


def load_suspect(suspect: Checkpoint, root: Checkpoint, base: Any, dtype: torch.dtype) -> Any:
    if suspect.kind == "pipeline":
        given, wanted = [(c.config or {}).get("_class_name") for c in (suspect, root)]
        if given != wanted:
            raise UserError(f"{suspect.name} is a {given!r:.80}, its base a {wanted}; accepted: two of one class")
        return load_pipeline(suspect, "fine-tuned", dtype, **_shared(suspect, root, base))
    if suspect.kind == "single file":
        return load_single_file(suspect, base, str(root.fetch()), dtype)
    return _training_checkpoint(suspect, base, dtype)


def _training_checkpoint(suspect: Checkpoint, base: Any, dtype: torch.dtype) -> Any:
    """The base with the networks that a training run saved in their place."""
    strange = sorted(suspect.components.keys() - (base.components.keys() & TRAINED.keys()))
    if strange:
        raise UserError(f"{suspect.name} holds a {strange[0]}, which its base has not; accepted: what fits the base")
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    components, folder = dict(base.components), suspect.fetch()
    for name in suspect.components:
        try:
            part = TRAINED[name].from_pretrained(folder / name, variant=suspect.variant, **options)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise _unloadable(error, "fine-tuned", suspect) from error
        _account(part, suspect, name)
        components[name] = part
    requires = {"requires_safety_checker": False} if "safety_checker" in components else {}
    return type(base)(**components, **requires)


def _unloadable(error: Exception, role: str, checkpoint: Checkpoint) -> UserError:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{role} model {checkpoint.name} cannot be loaded ({first_line:.200}); {ACCEPTED}")


def _shared(suspect: Checkpoint, root: Checkpoint, base: Any) -> dict[str, Any]:
    """The base's own components that a suspect's pipeline need not load a second time.

    Its autoencoder, as both models share the base's latent space, and every part whose files are the same bytes.
    """
    same = [
        name
        for name, part in suspect.components.items()
        if part.weights and _digests(suspect, name) == _digests(root, name) and name in base.components
    ]
    return {name: base.components[name] for name in {*same, "vae"} if name in base.components}


def _digests(checkpoint: Checkpoint, name: str) -> Sequence[str]:
    part = checkpoint.components.get(name)
    return [checkpoint.listing.sha256(f) for f in part.weights] if part else []
