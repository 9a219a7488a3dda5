"""Load pipelines that `intake` found: the base, and a suspect saved as a pipeline or by its training."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from ..errors import UserError
from ..intake.components import UNUSED
from ..intake.layout import Checkpoint
from .alt_diffusion import load_alt_diffusion, without_use
from .conditioning import FAMILIES
from .single_file import load_single_file
from .weight_coverage import check_coverage, explain_error

ACCEPTED = (
    "accepted: a folder in the diffusers layout (with model_index.json), a training checkpoint (with unet/), a LoRA or "
    "PEFT folder, or one .safetensors file"
)


def load_pipeline(checkpoint: Checkpoint, role: str, dtype: torch.dtype, **components: Any) -> Any:
    """Load a pipeline of a known class; `components` are used instead of loaded.

    Raises:
        UserError: if its class is unknown, or it cannot be loaded completely.
    """
    config = checkpoint.config or {}
    if config.get("_class_name") not in FAMILIES:
        raise UserError(
            "families.pipeline_class",
            role=role,
            name=checkpoint.name,
            given=f"{config.get('_class_name')!r:.80}",
            accepted=list(FAMILIES),
        )
    try:
        pipeline = _build(checkpoint, dtype, components)
    except UserError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, ImportError) as error:
        raise _unloadable(error, role, checkpoint) from error
    for name in checkpoint.components.keys() - components.keys():
        _check_coverage(getattr(pipeline, name), checkpoint, name)
    return pipeline


def _build(checkpoint: Checkpoint, dtype: torch.dtype, components: dict[str, Any]) -> Any:
    folder, config = checkpoint.fetch(), checkpoint.config or {}
    if config["_class_name"] == "AltDiffusionPipeline":
        return load_alt_diffusion(folder, dtype, checkpoint.variant, **components)
    absent = {n: None for n, entry in config.items() if n in UNUSED or (isinstance(entry, list) and entry[0] is None)}
    return DiffusionPipeline.from_pretrained(
        folder,
        dtype=dtype,
        variant=checkpoint.variant,
        use_safetensors=True,
        local_files_only=True,
        **absent,
        **components,
    )


def _check_coverage(part: Any, checkpoint: Checkpoint, name: str) -> None:
    if isinstance(part, nn.Module):
        check_coverage(part, checkpoint.of_component(name), f"{checkpoint.name}, {name}", without_use(part))


def load_suspect(suspect: Checkpoint, root: Checkpoint, base: Any, dtype: torch.dtype) -> Any:
    """Load a suspect with its own weights: a pipeline, a single file or a training checkpoint.

    Args:
        suspect: the suspect.
        root: the base's checkpoint.
        base: the base's pipeline; parts that both have in common are taken from it.
        dtype: the precision of the networks.

    Raises:
        UserError: if it cannot be loaded completely, or does not fit the base.
    """
    if suspect.kind == "pipeline":
        given, wanted = [(c.config or {}).get("_class_name") for c in (suspect, root)]
        if given != wanted:
            raise UserError("families.class_differs", name=suspect.name, given=f"{given!s:.80}", expected=f"{wanted}")
        return load_pipeline(suspect, "fine-tuned", dtype, **_shared(suspect, root, base))
    if suspect.kind == "single file":
        return load_single_file(suspect, base, str(root.fetch()), dtype)
    return _training_checkpoint(suspect, base, dtype)


def _training_checkpoint(suspect: Checkpoint, base: Any, dtype: torch.dtype) -> Any:
    """Load the base with the networks that a training run saved."""
    strange = sorted(suspect.components.keys() - base.components.keys())
    if strange:
        raise UserError("families.component_not_in_base", name=suspect.name, component=strange[0])
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    components, folder = dict(base.components), suspect.fetch()
    for name in suspect.components:
        try:
            part = type(base.components[name]).from_pretrained(folder / name, variant=suspect.variant, **options)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise _unloadable(error, "fine-tuned", suspect) from error
        _check_coverage(part, suspect, name)
        components[name] = part
    requires = {"requires_safety_checker": False} if "safety_checker" in components else {}
    return type(base)(**components, **requires)


def _unloadable(error: Exception, role: str, checkpoint: Checkpoint) -> UserError:
    return UserError("families.cannot_be_loaded", role=role, name=checkpoint.name, cause=explain_error(error))


def _shared(suspect: Checkpoint, root: Checkpoint, base: Any) -> dict[str, Any]:
    """The base's components that a suspect's pipeline uses instead of loading its own.

    These are the autoencoder, since both models share the base's latent space, and parts with byte-identical files.
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
