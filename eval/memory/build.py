"""A published architecture on the device `meta`: its shapes, without numbers."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor, nn

from cgidm.families.conditioning import ConditionedNetwork, condition_on_prompt

FOLDER = Path(__file__).parent / "architectures"
META = torch.device("meta")
TRANSFORMERS = {
    "FluxPipeline": "FluxTransformer2DModel",
    "ZImagePipeline": "ZImageTransformer2DModel",
    "QwenImagePipeline": "QwenImageTransformer2DModel",
    "Flux2Pipeline": "Flux2Transformer2DModel",
    "Flux2KleinPipeline": "Flux2Transformer2DModel",
    "ChromaPipeline": "ChromaTransformer2DModel",
    "Krea2Pipeline": "Krea2Transformer2DModel",
    "StableDiffusion3Pipeline": "SD3Transformer2DModel",
}


@dataclass(frozen=True)
class FlowArchitecture:
    """The configurations of one published model, as far as they matter.

    Attributes:
        title: what it is called.
        source: where the numbers were read.
        pipeline: its class in diffusers.
        transformer: of the network.
        vae: of the autoencoder, with its class.
        scheduler: of flow matching.
        conditions: the shapes of an encoded prompt of the most tokens.
        text_encoders: of each text encoder, with its class.
    """

    title: str
    source: str
    pipeline: str
    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    conditions: tuple[tuple[int, ...], ...]
    text_encoders: tuple[Mapping[str, Any], ...]
    resolution: int = 1024  # pixels of the square that it is asked about


def flow_architectures() -> dict[str, FlowArchitecture]:
    """All of them, by the names of their files."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.json"))}


def _read(path: Path) -> FlowArchitecture:
    stated = json.loads(path.read_text(encoding="utf-8"))
    shapes = tuple(tuple(shape) for shape in stated["conditions"])
    return FlowArchitecture(**stated | {"conditions": shapes, "text_encoders": tuple(stated["text_encoders"])})


def build_network(
    architecture: FlowArchitecture,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device = META,
    made: AbstractContextManager[Any] = META,
) -> ConditionedNetwork:
    """The network on an encoded prompt, as its family's own function conditions it.

    Args:
        architecture: its configurations.
        dtype: the precision of its weights.
        device: where it computes.
        made: inside, modules and tensors appear on that device.
    """
    settings = {k: v for k, v in architecture.vae.items() if k != "class"}
    with made:
        network = getattr(diffusers, TRANSFORMERS[architecture.pipeline])(**architecture.transformer)
        vae = getattr(diffusers, architecture.vae["class"])(**settings)
        features = [torch.randn(1, *shape, dtype=dtype) for shape in architecture.conditions]
    for part in (network, vae):
        part.eval().requires_grad_(False)
        if part.dtype != dtype:
            part.to(dtype)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**architecture.scheduler)
    pipeline = _bare_pipeline(architecture.pipeline, network, vae, scheduler)
    pipeline.encode_prompt = lambda *args, **options: _encoded(architecture.pipeline, features)
    model = condition_on_prompt(pipeline, "")
    return replace(model, device=device, conditions=tuple(c.to(device) for c in model.conditions))


def text_encoder_bytes(architecture: FlowArchitecture, dtype: torch.dtype = torch.bfloat16) -> int:
    """The bytes of all text encoders: they lie on the card together, before the network does."""
    return sum(dtype.itemsize * _count(config) for config in architecture.text_encoders)


def _count(config: Mapping[str, Any]) -> int:
    model: Any = getattr(transformers, config["class"])
    with META:
        encoder = model(model.config_class(**{k: v for k, v in config.items() if k != "class"}))
    return sum(w.numel() for w in {id(w): w for w in encoder.parameters()}.values())


def _bare_pipeline(name: str, network: nn.Module, vae: Any, scheduler: Any) -> Any:
    """A pipeline without text encoders, whose class may insist on them."""
    kind: Any = getattr(diffusers, name)
    pipeline = kind.__new__(kind)
    scale = 2 ** (len(vae.config.block_out_channels) - 1) if "block_out_channels" in vae.config else 8
    parts = {"transformer": network, "vae": vae, "scheduler": scheduler, "vae_scale_factor": scale}
    for key, value in (parts | {"_internal_dict": SimpleNamespace(is_distilled=False)}).items():
        object.__setattr__(pipeline, key, value)
    return pipeline


def _encoded(name: str, features: list[Tensor]) -> Any:
    """What `encode_prompt` of each pipeline returns, around these features."""
    text = features[0]
    match name:
        case "StableDiffusion3Pipeline":
            return text, None, features[1], None
        case "FluxPipeline":
            return text, features[1], None
        case "ChromaPipeline":
            return text, None, torch.ones(text.shape[:2]), None
        case "ZImagePipeline":
            return [text[0]], []
        case "Krea2Pipeline":
            return text, features[1].bool()
        case "Flux2Pipeline" | "Flux2KleinPipeline":
            return text, torch.zeros(1, text.shape[1], 4)
        case _:
            return text, None
