"""From folders in the diffusers layout to a `ModelPair`. What other files mean is for an intake stage to decide."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel
from transformers.utils import logging as transformers_logging

from ..errors import UserError
from ..models import ModelPair, NetworkEpsModel
from .bind import Bound, bind

ADAPTER = "suspect"
LORA_FILE = "pytorch_lora_weights.safetensors"
LAYOUTS = (
    f"a folder with model_index.json, one with unet/, one with {LORA_FILE}, or such a .safetensors LoRA file in the "
    "diffusers layout"
)


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

    A LoRA suspect is the base's own network, seen with the adapter on. Weights are frozen. Only safetensors are opened.

    Raises:
        UserError: if one of them is missing, in another layout, or does not fit the other.
    """
    diffusers_logging.set_verbosity_error()  # its warnings are answered by our own checks, in our own words
    diffusers_logging.disable_progress_bar()  # a library prints nothing; both draw on stderr while they load
    transformers_logging.disable_progress_bar()
    folder, suspect = Path(base), Path(finetuned)
    pipeline = _load_pipeline(folder, "base", dtype).to(device)
    lora = _lora_file(suspect)
    if lora is not None:
        first, second, networks = _lora_pair(pipeline, lora, prompt)
        files = [*_weights(folder), lora]
    else:
        first = bind(_frozen(pipeline), prompt)
        second = bind(_frozen(_full_suspect(suspect, pipeline, dtype).to(device)), prompt)
        networks = (first.network, second.network)
        _check_shapes(first, second, suspect)
        files = _weights(folder) + _weights(suspect)
    if hasattr(first.codec, "encoding"):
        first.codec.encoding = encoding  # type: ignore[attr-defined]
    models = [NetworkEpsModel(b.call, b.schedule, b.prediction, dtype) for b in (first, second)]
    return ModelPair(
        *models,
        schedule=first.schedule,
        codec=first.codec,
        side=first.side,
        device=torch.device(device),
        fingerprints={str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files},
        networks=networks,
    )


def _load_pipeline(folder: Path, role: str, dtype: torch.dtype, **components: Any) -> Any:
    if not (folder / "model_index.json").exists():
        state = "has no model_index.json" if folder.exists() else "does not exist"
        raise UserError(f"{role} model {folder} {state}; accepted: a local folder in the diffusers layout")
    try:
        return DiffusionPipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, **components
        )
    except (OSError, ValueError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"{role} model {folder} cannot be loaded ({first_line}); accepted: {LAYOUTS}") from error


def _full_suspect(suspect: Path, base: Any, dtype: torch.dtype) -> Any:
    if (suspect / "model_index.json").exists():
        return _load_pipeline(suspect, "fine-tuned", dtype)
    if not (suspect / "unet").is_dir():
        state = "is none of these" if suspect.exists() else "does not exist"
        raise UserError(f"fine-tuned model {suspect} {state}; accepted: {LAYOUTS}")
    options = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    components = dict(base.components)
    try:
        components["unet"] = UNet2DConditionModel.from_pretrained(suspect / "unet", **options)
        if (suspect / "text_encoder").is_dir():
            components["text_encoder"] = CLIPTextModel.from_pretrained(suspect / "text_encoder", **options)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"fine-tuned model {suspect} cannot be loaded ({first_line}); accepted: {LAYOUTS}") from error
    requires = {"requires_safety_checker": False} if "safety_checker" in components else {}
    return type(base)(**components, **requires)


def _lora_file(suspect: Path) -> Path | None:
    if suspect.suffix in {".bin", ".ckpt", ".pt", ".pth", ".pkl"}:
        raise UserError(f"{suspect} is a pickle, which can run code when opened; accepted: {LAYOUTS}")
    if suspect.suffix == ".safetensors":
        if not suspect.exists():
            raise UserError(f"fine-tuned model {suspect} does not exist; accepted: {LAYOUTS}")
        return suspect
    return suspect / LORA_FILE if (suspect / LORA_FILE).exists() else None


def _lora_pair(pipeline: Any, lora: Path, prompt: str) -> tuple[Bound, Bound, tuple[torch.nn.Module, ...]]:
    """The pipeline's network with the adapter off and on; its prompt is encoded under both."""
    state = load_file(lora)
    try:
        pipeline.load_lora_weights(dict(state), adapter_name=ADAPTER)
    except (ValueError, RuntimeError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"{lora} does not fit the base ({first_line}); accepted: {LAYOUTS}") from error
    _check_every_tensor_is_in_use(pipeline, state, lora)
    _frozen(pipeline)
    pipeline.disable_lora()
    first = bind(pipeline, prompt)
    pipeline.enable_lora()
    second = bind(pipeline, prompt)
    network: Any = first.network

    def switch(adapter_on: bool) -> None:
        wanted = [p.requires_grad for p in network.parameters()]
        network.enable_adapters() if adapter_on else network.disable_adapters()
        for p, requires_grad in zip(network.parameters(), wanted, strict=True):
            p.requires_grad_(requires_grad)  # peft makes the adapter trainable whenever it switches it on

    def off(x: Tensor, t: Tensor) -> Tensor:
        switch(False)
        return first.call(x, t)

    def on(x: Tensor, t: Tensor) -> Tensor:
        switch(True)
        return second.call(x, t)

    _frozen(pipeline)
    return replace(first, call=off), replace(second, call=on), (network,)


def _check_every_tensor_is_in_use(pipeline: Any, state: dict[str, Tensor], lora: Path) -> None:
    """A LoRA can load in part, or not at all, without an error; that would be a false "no evidence"."""
    given = sum(v.numel() for k, v in state.items() if not k.endswith(".alpha"))
    modules = [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]
    loaded = sum(p.numel() for m in modules for n, p in m.named_parameters() if f".{ADAPTER}." in n)
    if given != loaded or loaded == 0:
        raise UserError(
            f"{lora} has {given:,} adapter weights, of which {loaded:,} fit the base; accepted: {LAYOUTS} "
            "made for this base"
        )


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


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))
