"""What adapters compute, by the formulas of the methods: a layer becomes what is meant, and its parts are returned.

Parts have the names of LyCORIS' and kohya's files.
"""

from collections.abc import Callable
from typing import Any

import torch

RANK, ALPHA = 2, 3.0
Parts = dict[str, torch.Tensor]
Method = Callable[[Any, torch.Generator], Parts]  # changes the layer in place


def draw(g: torch.Generator, *shape: int) -> torch.Tensor:
    return 0.4 * torch.randn(*shape, generator=g)


def lora(layer: Any, g: torch.Generator, alpha: float | None = ALPHA) -> Parts:
    """Hu et al. 2021."""
    weight = layer.weight
    down = draw(g, RANK, *weight.shape[1:])
    up = draw(g, weight.shape[0], RANK, *[1] * (weight.ndim - 2))
    scale = 1.0 if alpha is None else alpha / RANK
    _add(weight, scale * torch.einsum("or...,ri...->oi...", up, down))
    parts = {"lora_down.weight": down, "lora_up.weight": up}
    return parts | ({} if alpha is None else {"alpha": torch.tensor(alpha)})


def plain(layer: Any, g: torch.Generator) -> Parts:
    """LoRA without an alpha: the rank is meant."""
    return lora(layer, g, alpha=None)


def split_lora(layer: Any, g: torch.Generator) -> Parts:
    """kohya's `split_qkv`: a LoRA for query, key and value each, and what else is computed; stored as one."""
    weight = layer.weight
    out, into = weight.shape
    if out == 4 * into or out % into or out < 3 * into:
        return lora(layer, g)
    rows = [into] * 3 + ([out - 3 * into] if out > 3 * into else [])
    parts = [lora(torch.nn.Linear(into, n), g) for n in rows]
    found = {
        "lora_down.weight": torch.cat([p["lora_down.weight"] for p in parts]),
        "lora_up.weight": torch.block_diag(*(p["lora_up.weight"] for p in parts)),
    }
    _add(weight, ALPHA / RANK * found["lora_up.weight"] @ found["lora_down.weight"])
    return {**found, "alpha": torch.tensor(ALPHA)}


def tucker(layer: Any, g: torch.Generator) -> Parts:
    """LyCORIS: a core between the factors of a convolution."""
    weight = layer.weight
    if weight.ndim == 2 or weight.shape[2:] == (1, 1):
        return lora(layer, g)
    down, up = draw(g, RANK, weight.shape[1], 1, 1), draw(g, weight.shape[0], RANK, 1, 1)
    mid = draw(g, RANK, RANK, *weight.shape[2:])
    _add(weight, ALPHA / RANK * torch.einsum("or,rsxy,si->oixy", up[..., 0, 0], mid, down[..., 0, 0]))
    return {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid, "alpha": torch.tensor(ALPHA)}


def loha(layer: Any, g: torch.Generator) -> Parts:
    """Hyeon-Woo et al. 2022, as LyCORIS flattens it."""
    weight = layer.weight
    out, into = weight.shape[0], weight[0].numel()
    parts = {f"hada_w{i}_a": draw(g, out, RANK) for i in (1, 2)} | {f"hada_w{i}_b": draw(g, RANK, into) for i in (1, 2)}
    change = (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
    _add(weight, ALPHA / RANK * change.reshape(weight.shape))
    return parts | {"alpha": torch.tensor(ALPHA)}


def lokr(layer: Any, g: torch.Generator) -> Parts:
    """LyCORIS: a Kronecker product, of which the second factor has a low rank."""
    weight = layer.weight
    out, into = weight.shape[0] // 2, weight.shape[1] // 2
    first, a, b = draw(g, 2, 2), draw(g, out, 1), draw(g, 1, into * weight[0, 0].numel())
    second = (a @ b).reshape(out, into, *weight.shape[2:])
    _add(weight, 0.5 * torch.kron(first.reshape(2, 2, *[1] * (weight.ndim - 2)), second))
    return {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(0.5)}


def whole_lokr(layer: Any, g: torch.Generator) -> Parts:
    """LoKr of two whole factors: no rank, and any alpha means scale 1."""
    weight = layer.weight
    parts = {
        "lokr_w1": draw(g, 2, 2),
        "lokr_w2": draw(g, weight.shape[0] // 2, weight.shape[1] // 2, *weight.shape[2:]),
    }
    _add(weight, torch.kron(parts["lokr_w1"].reshape(2, 2, *[1] * (weight.ndim - 2)), parts["lokr_w2"]))
    return parts | {"alpha": torch.tensor(1e10)}


def decomposed(method: Method, kept: int) -> Method:
    """DoRA on a method (Liu et al. 2024): each output's row (0), or input's column (1), has a length of its own."""

    def change(layer: Any, g: torch.Generator) -> Parts:
        parts, weight = method(layer, g), layer.weight
        with torch.no_grad():
            dims = [d for d in range(weight.ndim) if d != kept]
            lengths = weight.pow(2).sum(dim=dims, keepdim=True).sqrt()
            magnitude = lengths * (1 + 0.2 * torch.rand(lengths.shape, generator=g))
            weight.mul_(magnitude / lengths)
        return parts | {"dora_scale": magnitude}

    return change


dora = decomposed(lora, 0)


def full(layer: Any, g: torch.Generator) -> Parts:
    """LyCORIS' full differences: of the weight, and of the bias where there is one."""
    parts = {"diff": draw(g, *layer.weight.shape)}
    _add(layer.weight, parts["diff"])
    return parts | bias_alone(layer, g)


def bias_alone(layer: Any, g: torch.Generator) -> Parts:
    """The difference of a bias."""
    if layer.bias is None:
        return {}
    parts = {"diff_b": draw(g, *layer.bias.shape)}
    _add(layer.bias, parts["diff_b"])
    return parts


def norm(layer: Any, g: torch.Generator) -> Parts:
    """LyCORIS' differences of a norm."""
    parts = {"w_norm": draw(g, *layer.weight.shape), "b_norm": draw(g, *layer.bias.shape)}
    _add(layer.weight, parts["w_norm"])
    _add(layer.bias, parts["b_norm"])
    return parts


def set_weight(layer: Any, g: torch.Generator) -> Parts:
    """ComfyUI: the new weight itself."""
    parts = {"set_weight": draw(g, *layer.weight.shape)}
    with torch.no_grad():
        layer.weight.copy_(parts["set_weight"])
    return parts


def extracted(layer: Any, g: torch.Generator) -> Parts:
    """ComfyUI's extraction: factors without an alpha (norms as they are), and the difference of the bias."""
    if layer.weight.ndim == 1:
        return full(layer, g)
    return lora(layer, g, alpha=None) | bias_alone(layer, g)


def reshaped(layer: Any, g: torch.Generator) -> Parts:
    """ComfyUI: factors, and the shape that the weight already has."""
    return lora(layer, g) | {"reshape_weight": torch.tensor(layer.weight.shape)}


def lora_with_bias(layer: Any, g: torch.Generator) -> Parts:
    """peft's `lora_bias`: the second factor has a bias, which is scaled too."""
    parts = lora(layer, g)
    bias = draw(g, layer.weight.shape[0])
    if layer.bias is None:
        layer.bias = torch.nn.Parameter(torch.zeros_like(bias))
    _add(layer.bias, ALPHA / RANK * bias)
    return parts | {"lora_up.bias": bias}


def _add(weight: torch.Tensor, change: torch.Tensor) -> None:
    with torch.no_grad():
        weight.add_(change)
