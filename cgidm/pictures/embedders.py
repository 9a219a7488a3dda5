"""Similarity of original and recovered picture as a network sees it (Sec. 4.1): CLIP, DINO, and one that ships.

The weights of CLIP and DINO are read from the Hub's local cache, and fetched only if that is asked for. Where they
cannot be had the score is missing, with the reason; the shipped EfficientNet-Lite0 has a name and a score of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image

from ..messages import Note, note
from ..resources import embedder_file

SHIPPED_NAME = "efficientnet_lite0"  # the embedder whose weights ship
DINO_BLOCKS = 4  # the CLS tokens of the last four blocks are joined, as in DINO's own linear evaluation


@runtime_checkable
class Embedder(Protocol):
    """Pictures in [0, 1] to unit vectors."""

    def __call__(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d"]: ...


@dataclass(frozen=True, eq=False)
class NetworkEmbedder:
    """A frozen network behind its own preprocessing, which it gets as 8-bit pictures, as from a file."""

    network: Callable[[Tensor], Tensor]
    preprocess: Callable[[Any], Tensor]  # PIL image -> normalised tensor
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d"]:
        pixels = (images.clamp(0, 1) * 255).round().byte().cpu()
        batch = torch.stack([self.preprocess(to_pil_image(p)) for p in pixels]).to(self.device)
        return F.normalize(self.network(batch), dim=1)


@dataclass(frozen=True, eq=False)
class Embedders:
    """What there is on this machine, and why the rest is not there."""

    ready: Mapping[str, Embedder] = field(default_factory=dict)
    missing: Mapping[str, Note] = field(default_factory=dict)  # name -> reason


def similarity(
    embedder: Embedder, images: Float[Tensor, "b 3 H W"], others: Float[Tensor, "b 3 H W"]
) -> Float[Tensor, " b"]:
    """Cosine between the embeddings of each picture and its counterpart. The kept half lifts it for everyone."""
    return (embedder(images) * embedder(others)).sum(1).cpu()


def load_embedders(device: str | torch.device = "cpu", *, download: bool = False) -> Embedders:
    """Every embedder whose weights are on this machine; with `download`, also those that the Hub has (440 MB)."""
    ready: dict[str, Embedder] = {}
    missing: dict[str, Note] = {}
    for name, (build, find) in SOURCES.items():
        try:
            ready[name] = build(find(download), torch.device(device))
        except (OSError, HfHubHTTPError) as error:
            problem = str(error).strip().splitlines()[0]
            missing[name] = note("pictures.embedder_not_available", problem=problem)
    return Embedders(ready, missing)


def clip_embedder(weights: Path, device: torch.device) -> NetworkEmbedder:
    """CLIP ViT-B/32 of OpenAI (512 numbers). QuickGELU, which those weights want; open_clip's plain name has GELU."""
    from open_clip import create_model_and_transforms

    model, _, preprocess = create_model_and_transforms("ViT-B-32-quickgelu", pretrained=str(weights))
    visual: Any = model.visual  # the text tower is not kept
    return NetworkEmbedder(_frozen(visual, device), preprocess, device)  # type: ignore[arg-type]


def dino_embedder(weights: Path, device: torch.device) -> NetworkEmbedder:
    """DINO ViT-S/16: the normalised CLS tokens of the last four blocks, joined (4 x 384 numbers).

    Preprocessing is that of timm's card of the weights: short side 248 (DINO's own script has 256), centre 224.
    """
    model: Any = _timm_model("vit_small_patch16_224.dino", weights, device)

    def network(batch: Tensor) -> Tensor:
        layers = model.get_intermediate_layers(batch, n=DINO_BLOCKS, return_prefix_tokens=True, norm=True)
        return torch.cat([prefix[:, 0] for _, prefix in layers], dim=1)

    return NetworkEmbedder(network, timm_preprocess(model), device)


def efficientnet_embedder(weights: Path, device: torch.device) -> NetworkEmbedder:
    """EfficientNet-Lite0 trained on ImageNet: its pooled features (1280 numbers) of the whole square, not cropped."""
    model = _timm_model("tf_efficientnet_lite0", weights, device)
    return NetworkEmbedder(model, timm_preprocess(model, crop_pct=1.0), device)


def timm_preprocess(model: nn.Module, **changes: Any) -> Callable[[Any], Tensor]:
    """The preprocessing on the card of a timm model, with `changes` to its configuration."""
    from timm.data import create_transform, resolve_data_config

    return create_transform(**{**resolve_data_config({}, model=model), **changes})  # type: ignore[return-value]


def _timm_model(name: str, weights: Path, device: torch.device) -> nn.Module:
    from timm import create_model

    model: Any = create_model(name, num_classes=0)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
    return _frozen(model, device)


def _frozen(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).eval().requires_grad_(False)


def _on_hub(repo: str, file: str) -> Callable[[bool], Path]:
    def find(download: bool) -> Path:
        try:
            return Path(hf_hub_download(repo, file, local_files_only=not download))
        except FileNotFoundError as error:
            where = "could not be fetched" if download else "is not in the Hub's local cache"
            raise FileNotFoundError(f"{repo}/{file} {where}") from error

    return find


def _shipped(download: bool) -> Path:
    if not (file := embedder_file()).exists():
        raise FileNotFoundError(f"{file.name} is not in {file.parent.parent.name}/{file.parent.name}")
    return file


SOURCES: dict[str, tuple[Callable[[Path, torch.device], Embedder], Callable[[bool], Path]]] = {
    "clip": (clip_embedder, _on_hub("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors")),
    "dino": (dino_embedder, _on_hub("timm/vit_small_patch16_224.dino", "model.safetensors")),
    SHIPPED_NAME: (efficientnet_embedder, _shipped),
}
