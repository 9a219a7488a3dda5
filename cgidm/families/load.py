"""From a base and a suspect to a `ModelPair`. What each of them is, `intake` says; here they are built."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers import CLIPTextModel
from transformers.utils import logging as transformers_logging

from ..errors import UserError
from ..intake.inspect import file_sha256
from ..intake.layout import ACCEPTED, Checkpoint, read_layout
from ..models import ModelPair, NetworkEpsModel
from .adapters import apply_adapter
from .bind import Bound, bind
from .single_file import load_single_file


def load_pair(
    base: str,
    finetuned: str,
    prompt: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    encoding: str = "mode",
) -> ModelPair:
    """Load a base pipeline and a suspect made from it, with `prompt` bound to both (it may be blank).

    An adapter's suspect is the base's own network, seen with the adapter on. Weights are frozen. Only safetensors are
    opened.

    Raises:
        UserError: if one of them is missing, in another layout, or does not fit the other.
    """
    diffusers_logging.set_verbosity_error()  # its warnings are answered by our own checks, in our own words
    diffusers_logging.disable_progress_bar()  # a library prints nothing; both draw on stderr while they load
    transformers_logging.disable_progress_bar()
    root, suspect = _read(base, "base"), _read(finetuned, "fine-tuned")
    if root.kind != "pipeline":
        raise UserError(f"base model {base} is a {root.kind}; accepted: a local folder in the diffusers layout")
    pipeline = _load_pipeline(root.path, "base", dtype).to(device)
    if suspect.kind == "adapter":
        first, second = _adapter_pair(pipeline, suspect, prompt)
    else:
        first = bind(_frozen(pipeline), prompt)
        second = bind(_frozen(_full_suspect(suspect, root, pipeline, dtype).to(device)), prompt)
        _check_shapes(first, second, suspect.path)
    if hasattr(first.codec, "encoding"):
        first.codec.encoding = encoding  # type: ignore[attr-defined]
    models = [NetworkEpsModel(b.call, b.schedule, b.prediction, dtype) for b in (first, second)]
    return ModelPair(
        *models,
        schedule=first.schedule,
        codec=first.codec,
        side=first.side,
        device=torch.device(device),
        fingerprints={str(f): file_sha256(f) for f in (*root.weights, *suspect.weights)},
        networks=(first.network,) if first.network is second.network else (first.network, second.network),
    )


def _read(given: str, role: str) -> Checkpoint:
    try:
        return read_layout(Path(given))
    except UserError as error:
        raise UserError(f"{role} model {error}") from error


def _load_pipeline(folder: Path, role: str, dtype: torch.dtype, **components: Any) -> Any:
    try:
        return DiffusionPipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, **components
        )
    except (OSError, ValueError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"{role} model {folder} cannot be loaded ({first_line}); {ACCEPTED}") from error


def _full_suspect(suspect: Checkpoint, root: Checkpoint, base: Any, dtype: torch.dtype) -> Any:
    folder = suspect.path
    if suspect.kind == "pipeline":
        return _load_pipeline(folder, "fine-tuned", dtype, **_shared(suspect, root, base))
    if suspect.kind == "single file":
        return load_single_file(suspect, base, str(root.path), dtype)
    if suspect.kind != "training checkpoint":
        raise UserError(
            f"fine-tuned model {folder} is a {suspect.kind}, which is recognised but cannot be judged yet; accepted: "
            "a pipeline, a training checkpoint, a single file, a LoRA"
        )
    options = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    components = dict(base.components)
    try:
        components["unet"] = UNet2DConditionModel.from_pretrained(folder / "unet", **options)
        if (folder / "text_encoder").is_dir():
            components["text_encoder"] = CLIPTextModel.from_pretrained(folder / "text_encoder", **options)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"fine-tuned model {folder} cannot be loaded ({first_line}); {ACCEPTED}") from error
    requires = {"requires_safety_checker": False} if "safety_checker" in components else {}
    return type(base)(**components, **requires)


def _shared(suspect: Checkpoint, root: Checkpoint, base: Any) -> dict[str, Any]:
    """The base's own components that a suspect's pipeline need not load a second time.

    Its autoencoder, as both models share the base's latent space, and every part whose files are the same bytes.
    """
    hashes = [
        {name: {f.name: file_sha256(f) for f in c.weights if f.parent.name == name} for name in base.components}
        for c in (root, suspect)
    ]
    same = [name for name in base.components if hashes[0][name] and hashes[0][name] == hashes[1][name]]
    return {name: base.components[name] for name in {*same, "vae"} if name in base.components}


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
        raise UserError(f"{suspect.path} changes nothing in the base's answer; accepted: an adapter that was trained")
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


def _check_shapes(base: Bound, finetuned: Bound, suspect: Path) -> None:
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
