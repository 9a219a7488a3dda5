"""Load pipelines that `intake` found: the base, and a suspect saved as a pipeline or by its training."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import nn

from ..errors import UserError
from ..intake.components import UNUSED
from ..intake.family import CLASSES, JUDGED
from ..intake.layout import Checkpoint
from .conditioning import FAMILIES
from .kinds.alt_diffusion import load_alt_diffusion, without_use
from .library_errors import check_configurations, explain_library_errors, refuse_packed
from .single_file import load_base_file, load_single_file
from .tokenizers import check_tokenizers
from .weight_coverage import check_coverage, check_finite


def load_pipeline(checkpoint: Checkpoint, role: str, dtype: torch.dtype, **components: Any) -> Any:
    """Load a pipeline of a known class; `components` are used instead of loaded.

    Raises:
        UserError: if its class is unknown, or it cannot be loaded completely.
    """
    config = checkpoint.config or {}
    given = str(config.get("_class_name"))
    if given not in FAMILIES and (family := CLASSES.get(given)) is not None:
        raise UserError(
            "families.family_not_judged", role=role, name=checkpoint.name, family=family, accepted=list(JUDGED)
        )
    if given not in FAMILIES:
        raise UserError(
            "families.pipeline_class",
            role=role,
            name=checkpoint.name,
            given=f"{config.get('_class_name')!r:.80}",
            accepted=list(FAMILIES),
        )
    if checkpoint.lender is not None:
        return load_base_file(checkpoint, checkpoint.lender, dtype)
    with explain_library_errors(role, checkpoint.name):
        pipeline = _build(checkpoint, dtype, components)
        for name in checkpoint.components.keys() - components.keys():
            _check_part(getattr(pipeline, name), checkpoint, name)
        absent = [name for name in _needed(pipeline) if getattr(pipeline, name, None) is None]
        if absent:
            raise UserError("families.component_absent", role=role, name=checkpoint.name, component=absent[0])
    return pipeline


def _needed(pipeline: Any) -> list[str]:
    """The components without which nothing is computed. Only SD 3 is used without one of its text encoders, T5."""
    names, optional = pipeline.components, {*UNUSED, "text_encoder_3", "tokenizer_3"}
    return [name for name in names if name not in optional]


def _build(checkpoint: Checkpoint, dtype: torch.dtype, components: dict[str, Any]) -> Any:
    own = sorted(checkpoint.components.keys() - components.keys())
    refuse_packed(checkpoint, own)
    folder, config = checkpoint.fetch(), checkpoint.config or {}
    check_configurations(folder, checkpoint, own)
    if config["_class_name"] == "AltDiffusionPipeline":
        return load_alt_diffusion(folder, dtype, checkpoint.variant, **components)
    absent = {n: None for n, entry in config.items() if n in UNUSED or (isinstance(entry, list) and entry[0] is None)}
    return DiffusionPipeline.from_pretrained(
        folder,
        dtype=dtype,
        variant=checkpoint.variant,
        use_safetensors=True,
        local_files_only=True,
        **(absent | components),
    )


def _check_part(part: Any, checkpoint: Checkpoint, name: str) -> None:
    if isinstance(part, nn.Module):
        check_coverage(part, checkpoint.of_component(name), f"{checkpoint.name}, {name}", without_use(part))
        check_finite(part, f"{checkpoint.name}, {name}")


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
        pipeline = load_pipeline(suspect, "fine-tuned", dtype, **_shared(suspect, root, base))
        check_tokenizers(pipeline, suspect.name, base)
    elif suspect.kind == "single file":
        source = root.lender or root  # of the configuration
        folder = source.listing.fetch(source.extras) / source.root
        pipeline = load_single_file(suspect, base, str(folder), dtype)
    else:
        pipeline = _training_checkpoint(suspect, base, dtype)
    for name in ("unet", "transformer"):  # pictures are framed for the base's size, whatever a suspect notes
        network: Any = getattr(pipeline, name, None)
        if network is not None and "sample_size" in (own := getattr(base, name).config):
            network.register_to_config(sample_size=own["sample_size"])
    return pipeline


def _training_checkpoint(suspect: Checkpoint, base: Any, dtype: torch.dtype) -> Any:
    """Load the base with the networks that a training run saved."""
    strange = sorted(suspect.components.keys() - base.components.keys())
    if strange:
        raise UserError("families.component_not_in_base", name=suspect.name, component=strange[0])
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    refuse_packed(suspect, list(suspect.components))
    components, folder = dict(base.components), suspect.fetch()
    for name in suspect.components:
        with explain_library_errors("fine-tuned", suspect.name):
            if folder.is_file():
                components[name] = _bare_network(base.components[name], suspect, name, dtype)
                continue
            check_configurations(folder, suspect, [name])
            part = type(base.components[name]).from_pretrained(folder / name, variant=suspect.variant, **options)
            _check_part(part, suspect, name)
        components[name] = part
    requires = {"requires_safety_checker": False} if "safety_checker" in components else {}
    return type(base)(**components, **requires)


def _bare_network(like: nn.Module, suspect: Checkpoint, name: str, dtype: torch.dtype) -> nn.Module:
    """Build a network with the configuration of the base's, `like`, and the weights of a file that has none.

    Raises:
        UserError: if the file's names and shapes are not exactly those of the base's network.
    """
    where = f"{suspect.name}, {name}"
    try:
        check_coverage(like, suspect.of_component(name), where)
    except UserError as error:
        problems = error.params["problems"]
        raise UserError("families.bare_network_misfit", name=suspect.name, component=name, problems=problems) from error
    network: Any = type(like)
    with init_empty_weights(include_buffers=False):
        part = network.from_config(like.config)
    shapes = {k: v.shape for k, v in part.state_dict().items()}
    state = {k: v.to(dtype).reshape(shapes[k]) for k, v in load_file(suspect.fetch()).items()}
    part.load_state_dict(state, assign=True)
    check_finite(part, where)
    return part


def _shared(suspect: Checkpoint, root: Checkpoint, base: Any) -> dict[str, Any]:
    """The base's components that a suspect's pipeline uses instead of loading its own.

    These are the autoencoder, since both models share the base's latent space, parts with byte-identical files, and
    parts that the suspect lacks.
    """
    same = [
        name
        for name, part in suspect.components.items()
        if part.weights and _digests(suspect, name) == _digests(root, name) and name in base.components
    ]
    lacking = [n for n, p in base.components.items() if p is not None and n not in (*suspect.components, *UNUSED)]
    return {name: base.components[name] for name in {*same, *lacking, "vae"} if name in base.components}


def _digests(checkpoint: Checkpoint, name: str) -> Sequence[str]:
    part = checkpoint.components.get(name)
    return [checkpoint.listing.sha256(f) for f in part.weights] if part else []
