"""From a base and a suspect to a `ModelPair`. What each of them is, `intake` says; here they are built."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection
from transformers.utils import logging as transformers_logging

from ..errors import UserError
from ..intake.components import UNUSED
from ..intake.layout import ACCEPTED, Checkpoint, open_checkpoint
from ..models import ModelPair, NetworkEpsModel
from .account import check_whole
from .adapters import apply_adapter
from .bind import FAMILIES, Bound, bind
from .single_file import load_single_file

TRAINED = {  # what a training run saves, and the class that reads it
    "unet": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}


def load_pair(
    base: str | Checkpoint,
    finetuned: str | Checkpoint,
    prompt: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    encoding: str = "mode",
) -> ModelPair:
    """Load a base pipeline and a suspect made from it, with `prompt` bound to both (it may be blank).

    Each is a path, a place on the Hub (without a token), or a `Checkpoint` opened by `intake.layout.open_checkpoint`.
    An adapter's suspect is the base's own network, seen with the adapter on. Weights are frozen. Only safetensors are
    opened.

    Raises:
        UserError: if one of them is missing, in another layout, or does not fit the other.
    """
    diffusers_logging.set_verbosity_error()  # its warnings are answered by our own checks, in our own words
    diffusers_logging.disable_progress_bar()  # a library prints nothing; both draw on stderr while they load
    transformers_logging.disable_progress_bar()
    root = open_checkpoint(base, "base model") if isinstance(base, str) else base
    suspect = open_checkpoint(finetuned, "fine-tuned model") if isinstance(finetuned, str) else finetuned
    if root.kind != "pipeline":
        raise UserError(f"base model {root.name} is a {root.kind}; accepted: a model in the diffusers layout")
    pipeline = _load_pipeline(root, "base", dtype).to(device)
    if suspect.kind == "adapter":
        first, second = _adapter_pair(pipeline, suspect, prompt)
    else:
        first = bind(_frozen(pipeline), prompt)
        second = bind(_frozen(_full_suspect(suspect, root, pipeline, dtype).to(device)), prompt)
        _check_shapes(first, second, suspect.name)
    if hasattr(first.codec, "encoding"):
        first.codec.encoding = encoding  # type: ignore[attr-defined]
    models = [NetworkEpsModel(b.call, b.schedule, b.prediction, dtype) for b in (first, second)]
    return ModelPair(
        *models,
        schedule=first.schedule,
        codec=first.codec,
        side=first.side,
        device=torch.device(device),
        fingerprints={f"{c.listing.name}/{f}": c.listing.sha256(f) for c in (root, suspect) for f in c.weights},
        networks=(first.network,) if first.network is second.network else (first.network, second.network),
    )


def _load_pipeline(checkpoint: Checkpoint, role: str, dtype: torch.dtype, **components: Any) -> Any:
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


def _full_suspect(suspect: Checkpoint, root: Checkpoint, base: Any, dtype: torch.dtype) -> Any:
    if suspect.kind == "pipeline":
        given, wanted = [(c.config or {}).get("_class_name") for c in (suspect, root)]
        if given != wanted:
            raise UserError(f"{suspect.name} is a {given!r:.80}, its base a {wanted}; accepted: two of one class")
        return _load_pipeline(suspect, "fine-tuned", dtype, **_shared(suspect, root, base))
    if suspect.kind == "single file":
        return load_single_file(suspect, base, str(root.fetch()), dtype)
    if suspect.kind != "training checkpoint":
        raise UserError(
            f"fine-tuned model {suspect.name} is a {suspect.kind}, which is recognised but cannot be judged yet; "
            "accepted: a pipeline, a training checkpoint, a single file, a LoRA"
        )
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


def _adapter_pair(pipeline: Any, suspect: Checkpoint, prompt: str) -> tuple[Bound, Bound]:
    """The pipeline's network with the adapter off and on; the prompt is encoded under both.

    Raises:
        UserError: if the adapter changes nothing in what the network answers to a fixed input.
    """
    alone = bind(_frozen(pipeline), prompt)
    before = _probe(alone, alone.call)
    switch = apply_adapter(pipeline, suspect)
    _frozen(pipeline)
    switch(False)
    first = bind(pipeline, prompt)
    switch(True)
    second = bind(pipeline, prompt)

    def off(x: Tensor, t: Tensor) -> Tensor:
        switch(False)
        return first.call(x, t)

    def on(x: Tensor, t: Tensor) -> Tensor:
        switch(True)
        return second.call(x, t)

    if torch.equal(before, _probe(second, on)):
        raise UserError(f"{suspect.name} changes nothing in the base's answer; accepted: an adapter that was trained")
    assert torch.equal(before, _probe(first, off)), "the adapter off, the base must be the base"
    return replace(first, call=off), replace(second, call=on)


@torch.no_grad()
def _probe(bound: Bound, call: Any) -> Tensor:
    """What a network answers to one fixed input."""
    weight = next(bound.network.parameters())
    config: Any = bound.network.config
    x = torch.randn(1, config.in_channels, 16, 16, generator=torch.Generator().manual_seed(0)).to(weight)
    row = len(bound.schedule) // 2
    return call(x, bound.schedule.timesteps[row : row + 1].to(weight.device))


def _check_shapes(base: Bound, finetuned: Bound, suspect: str) -> None:
    shapes = [{k: v.shape for k, v in b.network.state_dict().items()} for b in (base, finetuned)]
    different = [k for k in shapes[0].keys() | shapes[1].keys() if shapes[0].get(k) != shapes[1].get(k)]
    if different:
        name = min(different)
        raise UserError(
            f"fine-tuned model {suspect} differs from the base in {len(different)} tensor shapes (first: {name}: "
            f"{shapes[1].get(name)}, base {shapes[0].get(name)}); accepted: a model fine-tuned from this base"
        )


def _frozen(pipeline: Any) -> Any:
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    return pipeline
