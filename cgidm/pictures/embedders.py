"""Similarity of original and recovered picture as a network sees it (Sec. 4.1): CLIP, DINO, and one that ships.

The weights of CLIP and DINO are read from the Hub's local cache, and fetched only on request. Without them their score
is missing, with the reason. The shipped EfficientNet-Lite0 has a name and a score of its own.
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
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError
from ..messages import Note, note
from ..messages.text import single_line
from ..resources import embedder_file
from .images import to_uint8

SHIPPED_NAME = "efficientnet_lite0"  # the embedder whose weights ship
DINO_BLOCKS = 4  # the CLS tokens of the last four blocks are joined, as in DINO's own linear evaluation


@runtime_checkable
class Embedder(Protocol):
    """A function from pictures in [0, 1] to unit vectors."""

    def __call__(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d"]:
        """Embed `images`."""
        ...


@dataclass(frozen=True, eq=False)
class NetworkEmbedder:
    """A frozen network behind its own preprocessing, which takes 8-bit pictures, as from a file."""

    network: Callable[[Tensor], Tensor]
    preprocess: Callable[[Any], Tensor]  # PIL image -> normalised tensor
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d"]:
        """Embed `images`."""
        batch = torch.stack([self.preprocess(Image.fromarray(p)) for p in to_uint8(images)]).to(self.device)
        return F.normalize(self.network(batch), dim=1)


@dataclass(frozen=True, eq=False)
class Embedders:
    """The embedders of this machine, and why the others are missing."""

    ready: Mapping[str, Embedder] = field(default_factory=dict)
    missing: Mapping[str, Note] = field(default_factory=dict)  # name -> reason


def similarity(
    embedder: Embedder, images: Float[Tensor, "b 3 H W"], others: Float[Tensor, "b 3 H W"]
) -> Float[Tensor, " b"]:
    """Cosine between the embeddings of each picture and its counterpart. The known half raises it for all pictures."""
    return (embedder(images) * embedder(others)).sum(1).cpu()


def load_embedders(device: str | torch.device = "cpu", *, download: bool = False) -> Embedders:
    """Load every embedder whose weights are on this machine.

    Args:
        device: where the networks compute.
        download: also fetch missing weights from the Hub (440 MB).
    """
    ready: dict[str, Embedder] = {}
    missing: dict[str, Note] = {}
    for name, (build, find) in SOURCES.items():
        try:
            ready[name] = build(find(download), torch.device(device))
        except UserError as error:
            missing[name] = error.note
        except OSError as error:
            missing[name] = note("pictures.weights_unreadable", error=_first_line(error))
    return Embedders(ready, missing)


def clip_embedder(weights: Path, device: torch.device) -> NetworkEmbedder:
    """CLIP ViT-B/32 of OpenAI (512 numbers), with QuickGELU as in training; open_clip's plain name means GELU."""
    from open_clip import create_model_and_transforms

    model, _, preprocess = create_model_and_transforms("ViT-B-32-quickgelu", pretrained=str(weights))
    visual: Any = model.visual  # without the text tower
    return NetworkEmbedder(_frozen(visual, device), preprocess, device)  # type: ignore[arg-type]


def dino_embedder(weights: Path, device: torch.device) -> NetworkEmbedder:
    """DINO ViT-S/16: the normalised CLS tokens of the last four blocks, joined (4 x 384 numbers).

    The preprocessing is that of the weights' card in timm: short side 248 (DINO's own script has 256), centre 224.
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
    """The preprocessing that the card of a timm model states, with `changes` to its configuration."""
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
        except (OSError, HfHubHTTPError) as error:
            if not download:
                raise UserError("pictures.weights_not_cached", repo=repo, file=file) from error
            raise UserError("pictures.weights_not_fetched", repo=repo, file=file, error=_first_line(error)) from error

    return find


def _shipped(download: bool) -> Path:
    if not (file := embedder_file()).exists():
        folder = f"{file.parent.parent.name}/{file.parent.name}"
        raise UserError("pictures.weights_not_shipped", file=file.name, folder=folder)
    return file


def _first_line(error: Exception) -> str:
    return single_line((str(error).strip().splitlines() or [type(error).__name__])[0])


SOURCES: dict[str, tuple[Callable[[Path, torch.device], Embedder], Callable[[bool], Path]]] = {
    "clip": (clip_embedder, _on_hub("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors")),
    "dino": (dino_embedder, _on_hub("timm/vit_small_patch16_224.dino", "model.safetensors")),
    SHIPPED_NAME: (efficientnet_embedder, _shipped),
}
