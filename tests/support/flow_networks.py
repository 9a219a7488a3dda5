"""Flow transformers of diffusers' own classes: tiny random ones with an input each, the published on `meta`."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import diffusers
import torch
from torch import Tensor

from tests.support.paths import ROOT

PUBLISHED = json.loads((ROOT / "tests" / "support" / "transformers.json").read_text(encoding="utf-8"))
HEADS, WIDTH = 2, 8  # of attention, and of each head
COMMON = {"num_attention_heads": HEADS, "attention_head_dim": WIDTH}
TINY: Mapping[str, Mapping[str, Any]] = {  # family -> settings; every width that may be is another one
    "FLUX": {
        **COMMON,
        "in_channels": 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "joint_attention_dim": 12,
        "pooled_projection_dim": 10,
        "guidance_embeds": True,
        "axes_dims_rope": (2, 2, 4),
    },
    "Chroma": {
        **COMMON,
        "in_channels": 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "joint_attention_dim": 12,
        "axes_dims_rope": (2, 2, 4),
        "approximator_num_channels": 8,
        "approximator_hidden_dim": 6,
        "approximator_layers": 2,
    },
    "FLUX.2": {
        **COMMON,
        "in_channels": 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "joint_attention_dim": 12,
        "timestep_guidance_channels": 8,
        "axes_dims_rope": (2, 2, 2, 2),
    },
    "Z-Image": {
        "in_channels": 2,
        "dim": 256,  # the modulation's width is 256 unless the network's is smaller
        "n_layers": 1,
        "n_refiner_layers": 1,
        "n_heads": 8,
        "n_kv_heads": 8,
        "cap_feat_dim": 12,
        "axes_dims": [8, 12, 12],
        "axes_lens": [64, 64, 64],
    },
    "Qwen-Image": {
        **COMMON,
        "in_channels": 4,
        "out_channels": 1,
        "num_layers": 2,
        "joint_attention_dim": 12,
        "axes_dims_rope": (2, 2, 4),
    },
    "Krea 2": {
        **COMMON,
        "in_channels": 4,
        "num_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 20,
        "timestep_embed_dim": 8,
        "text_hidden_dim": 12,
        "num_text_layers": 3,
        "text_num_attention_heads": 2,
        "text_num_key_value_heads": 2,
        "text_intermediate_size": 10,
        "num_layerwise_text_blocks": 1,
        "num_refiner_text_blocks": 1,
        "axes_dims_rope": (2, 2, 4),
    },
    "Lumina 2": {
        "sample_size": 4,
        "in_channels": 2,
        "hidden_size": 24,
        "num_layers": 2,
        "num_refiner_layers": 1,
        "num_attention_heads": 4,
        "num_kv_heads": 2,
        "multiple_of": 4,
        "axes_dim_rope": (2, 2, 2),
        "axes_lens": (16, 16, 16),
        "cap_feat_dim": 12,
    },
    "SD 3": {
        **COMMON,
        "sample_size": 4,
        "in_channels": 2,
        "out_channels": 2,
        "num_layers": 2,
        "joint_attention_dim": 12,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 10,
        "pos_embed_max_size": 4,
        "dual_attention_layers": (0,),
        "qk_norm": "rms_norm",
    },
}
CLASSES = {  # family -> diffusers' class
    "FLUX": "FluxTransformer2DModel",
    "Chroma": "ChromaTransformer2DModel",
    "FLUX.2": "Flux2Transformer2DModel",
    "Z-Image": "ZImageTransformer2DModel",
    "Qwen-Image": "QwenImageTransformer2DModel",
    "Krea 2": "Krea2Transformer2DModel",
    "Lumina 2": "Lumina2Transformer2DModel",
    "SD 3": "SD3Transformer2DModel",
}


def tiny_transformer(family: str, seed: int = 0, heads: int | None = None) -> Any:
    """A tiny random network; with other `heads` one of another width."""
    torch.manual_seed(seed)
    config = dict(TINY[family])
    network = getattr(diffusers, CLASSES[family])(**config | ({} if heads is None else _widened(family, heads)))
    for name, weight in network.named_parameters():
        if weight.ndim == 1 or "table" in name:  # what is zero or one at first
            weight.data += 0.2 * torch.randn(weight.shape)
        elif not weight.any():
            weight.data += 0.3 * torch.randn(weight.shape)
    return network.eval().requires_grad_(False)


def _widened(family: str, heads: int) -> dict[str, Any]:
    own = {"Z-Image": "n_heads"}.get(family, "num_attention_heads")
    width = {"Z-Image": {"dim": heads * 32, "n_kv_heads": heads}, "Lumina 2": {"hidden_size": heads * 6}}
    return {own: heads, **width.get(family, {})}


@cache
def published_transformer(name: str) -> Any:
    """The network of a published model, without its weights."""
    told = PUBLISHED[name]
    with torch.device("meta"):
        return getattr(diffusers, told["class"])(**told["config"])


@torch.no_grad()
def answer(family: str, network: Any) -> Tensor:
    """What a tiny network computes for one fixed input: two pictures of 2x2 tokens, and three words each."""
    g = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    packed, words, t = draw(2, 4, 4), draw(2, 3, 12), torch.tensor([0.3, 0.8])
    places = torch.tensor([[0, i // 2, i % 2] for i in range(4)])
    mask = torch.ones(2, 3, dtype=torch.bool)
    calls: Mapping[str, Callable[[], Any]] = {
        "FLUX": lambda: network(
            packed,
            words,
            draw(2, 10),
            t,
            img_ids=places.float(),
            txt_ids=torch.zeros(3, 3),
            guidance=torch.tensor([3.5, 3.5]),
        ),
        "Chroma": lambda: network(packed, words, t, img_ids=places.float(), txt_ids=torch.zeros(3, 3)),
        "FLUX.2": lambda: network(
            packed,
            words,
            t,
            img_ids=torch.cat([places, torch.zeros(4, 1)], dim=1)[None].expand(2, -1, -1),
            txt_ids=torch.zeros(2, 3, 4),
            guidance=torch.tensor([3.5, 3.5]),
        ),
        "Z-Image": lambda: (torch.stack(network(list(draw(2, 2, 1, 4, 4)), t, list(words))[0]),),
        "Qwen-Image": lambda: network(packed, words, mask, t, img_shapes=[[(1, 2, 2)]] * 2),
        "Krea 2": lambda: network(
            packed, draw(2, 3, 3, 12), t, torch.cat([torch.zeros(3, 3), places]), encoder_attention_mask=mask
        ),
        "Lumina 2": lambda: network(draw(2, 2, 4, 4), t, words, mask),
        "SD 3": lambda: network(draw(2, 2, 4, 4), words, draw(2, 10), t * 1000),
    }
    out = calls[family]()
    return out[0] if isinstance(out, tuple) else out.sample
