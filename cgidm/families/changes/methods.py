"""What a module's parts compute: the change of its weight and bias, through peft's layers or our own.

A module's weight W becomes W + scale * change. The change is up @ down (LoRA; a core `mid` is folded into down),
(w1_a @ w1_b) * (w2_a @ w2_b) (LoHa), the Kronecker product of w1 and w2 (LoKr), or stands in the file (a full
difference, a norm's). DoRA then rescales every output row, or input column, to the length that its magnitude states.
LyCORIS 3.2 trains this way, and peft 0.21 applies it this way.
"""

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from ...intake.adapters import Kind, Shape, change_shape, magnitude_axis
from .added_layer import AddedLayer
from .kronecker_layer import Block, KroneckerLayer, multiply_out
from .own_layer import OwnLayer

NAME = "suspect"
ADAPTED = (BaseTunerLayer, OwnLayer)  # layers that carry an adapter
LARGEST_ERROR = 1e-3  # of a layer's output, as a share of the change's effect
OUR_OWN = frozenset({"diff", "set_weight", "w_norm", "diff_b", "bias"})  # parts that peft's layers do not compute


@dataclass(frozen=True, eq=False)
class Change:
    """The change that an adapter makes to one module.

    Attributes:
        kind: the method.
        parts: the tensors, under the names of `intake.adapters`; of LoRA, LoHa, LoKr and DoRA the factors.
        scale: what their product is multiplied by.
        rank: the rank; 1 if it has none.
        strength: what the whole change is multiplied by, as users of the file do; of a DoRA that is not `scale`, since
            its magnitudes are no part of the product.
        blocks: of a LoKr that changes rows of a weight: Kronecker products instead of parts.
    """

    kind: Kind
    parts: Mapping[str, Tensor]
    scale: float = 1.0
    rank: int = 1
    strength: float = 1.0
    blocks: tuple[Block, ...] = ()


def fits(kind: Kind, change: Shape, weight: Shape) -> bool:
    """Whether a change of this shape can be added to a weight of that shape; either may leave out 1x1 kernels."""
    flat = (weight[0], math.prod(weight[1:]))
    return _plain(change) == _plain(weight) or (kind.startswith(("LoHa", "LoKr")) and change == flat)


def inject(network: nn.Module, changes: Mapping[str, Change]) -> None:
    """Make the `changes` (module's name -> change) to a network: peft's layers where they are exact, else ours.

    The network's own weights are not written.
    """
    peft: dict[str, dict[str, Change]] = {}
    ours = {}
    for module, change in changes.items():
        if _is_of_peft(change):
            peft.setdefault("LoRA" if change.kind == "LoCon" else change.kind, {})[module] = change
        else:
            ours[module] = change
    for kind, group in peft.items():
        _inject_peft(network, kind, group)
    for module, change in ours.items():
        layer: Any = network.get_submodule(module)
        network.set_submodule(module, _own_layer(layer, change))
    layers = {n: m for n, m in network.named_modules() if isinstance(m, ADAPTED)}
    assert layers.keys() == changes.keys(), "other modules were changed than those of the file"
    examples = {(change.kind, type(base_of(layers[module]))): module for module, change in changes.items()}
    for module in examples.values():
        _check_outputs(layers[module], changes[module])


def _own_layer(layer: Any, change: Change) -> OwnLayer:
    if change.blocks and not change.parts:
        device = layer.weight.device
        blocks = [
            Block(b.start, change.strength * b.first.to(device), tuple(factor.to(device) for factor in b.second))
            for b in change.blocks
        ]
        return KroneckerLayer(layer, blocks)
    return AddedLayer(layer, *differences(layer, change))


def differences(layer: Any, change: Change) -> tuple[Tensor | None, Tensor | None]:
    """The change of a layer's weight and of its bias, in float32; None where there is none."""
    weight, bias = (None if d is None else change.strength * d for d in _full_differences(layer, change))
    return weight, bias


def _full_differences(layer: Any, change: Change) -> tuple[Tensor | None, Tensor | None]:
    parts, own = change.parts, layer.weight.detach().float()
    parts = {part: tensor.to(own.device) for part, tensor in parts.items()}
    bias = parts.get("diff_b", parts.get("b_norm"))
    if "bias" in parts:
        bias = change.scale * parts["bias"] + (0 if bias is None else bias)
    if change.blocks:
        return multiply_out(own, change.blocks), bias
    if "set_weight" in parts:
        return parts["set_weight"].reshape(own.shape) - own, bias
    if (whole := parts.get("diff", parts.get("w_norm"))) is not None:
        return whole.reshape(own.shape), bias
    weight = change.scale * product(parts).reshape(own.shape)
    magnitude = next(((p, parts[p]) for p in ("magnitude", "dora_scale") if p in parts), None)
    if magnitude is not None:
        weight = _rescale(own + weight, *magnitude) - own
    return weight, bias


def product(parts: Mapping[str, Tensor]) -> Tensor:
    """The change that LoRA's, LoHa's or LoKr's factors make, before it is scaled; (out, in, *kernel), or flat."""
    if "down" in parts:
        down, up = parts["down"], parts["up"]
        if "mid" in parts:
            down = torch.einsum("rskl,si->rikl", parts["mid"], down.flatten(1))
        return torch.einsum("or,r...->o...", up.flatten(1), down)
    if "hada_w1_a" in parts:
        return pair(parts, "hada_w1", "hada_t1") * pair(parts, "hada_w2", "hada_t2")
    first, second = pair(parts, "lokr_w1", "lokr_t1"), pair(parts, "lokr_w2", "lokr_t2")
    first = first.reshape(*first.shape, *[1] * (second.ndim - 2))
    return torch.kron(first, second.contiguous())  # `kron` views its factors


def pair(parts: Mapping[str, Tensor], name: str, core: str) -> Tensor:
    """A factor, from its two halves if it is kept so; `core` is the name of a tensor between them."""
    if name in parts:
        return parts[name]
    a, b = parts[f"{name}_a"], parts[f"{name}_b"]
    return a @ b if core not in parts else torch.einsum("ij...,ip,jr->pr...", parts[core], a, b)


def _rescale(weight: Tensor, part: str, magnitude: Tensor) -> Tensor:
    """Give each output's row, or input's column, the length that a DoRA states."""
    shape = tuple(weight.shape)
    axis = magnitude_axis(part, tuple(magnitude.shape), shape)
    assert axis is not None
    kept = 0 if axis == "output" else 1
    dims = [d for d in range(weight.ndim) if d != kept]
    length = torch.linalg.vector_norm(weight, dim=dims, keepdim=True)
    return weight * magnitude.reshape(length.shape) / length


@torch.no_grad()
def _check_outputs(layer: Any, change: Change) -> None:
    """Assert that a changed layer computes what the weight and bias that the file means compute."""
    tried: Any = copy.deepcopy(layer).float().cpu().eval()
    below = base_of(tried)
    weight, bias = differences(below, change)
    meant: Any = copy.deepcopy(below)
    if weight is not None:
        meant.weight = nn.Parameter(below.weight + weight)
    if bias is not None:
        meant.bias = nn.Parameter(bias if below.bias is None else below.bias + bias)
    inputs = below.weight.shape[1] if below.weight.ndim > 1 else below.weight.shape[0]
    more = (8, 8) if isinstance(below, nn.Conv2d) else (4,) if isinstance(below, nn.GroupNorm) else ()
    x = torch.randn((3, inputs, *more), generator=torch.Generator().manual_seed(0))
    check_effect(tried(x), meant(x), below(x))


def check_effect(tried: Tensor, meant: Tensor, below: Tensor) -> None:
    """Assert that an adapted layer's outputs differ from the base's as they are meant to."""
    error, effect = (tried - meant).norm(), (meant - below).norm()
    assert error <= LARGEST_ERROR * effect + LARGEST_ERROR**2 * meant.norm(), "a layer computes another change"


def base_of(layer: Any) -> Any:
    """The layer without its change."""
    return layer.get_base_layer()


def _is_of_peft(change: Change) -> bool:
    """Whether peft's layers compute this change exactly."""
    if change.kind not in ("LoRA", "LoCon", "DoRA", "LoHa", "LoKr") or change.blocks or OUR_OWN & change.parts.keys():
        return False
    if change.kind == "DoRA" and change.strength != 1:
        return False
    shapes = {part: tuple(tensor.shape) for part, tensor in change.parts.items()}
    return (
        "dora_scale" not in shapes
        or magnitude_axis("dora_scale", shapes["dora_scale"], change_shape(shapes)) == "output"
    )


def _inject_peft(network: nn.Module, kind: str, changes: Mapping[str, Change]) -> None:
    """Wrap modules with peft's layers of one method, with the factors and scales of the file."""
    ranks = {re.escape(module): change.rank for module, change in changes.items()}
    common = {"r": max(ranks.values()), "rank_pattern": ranks, "target_modules": "|".join(ranks)}
    if kind in ("LoRA", "DoRA"):
        config = LoraConfig(**common, init_lora_weights=False, use_dora=kind == "DoRA")
    else:
        config = (LoHaConfig if kind == "LoHa" else LoKrConfig)(**common, init_weights=False)
    network.__dict__.pop("peft_config", None)  # of another method: peft would warn of it
    inject_adapter_in_model(config, network, NAME)
    for module, change in changes.items():
        layer: Any = network.get_submodule(module)
        _fill(layer, _peft_factors(change.parts, layer.get_base_layer()), change.scale * change.strength)


def _peft_factors(parts: Mapping[str, Tensor], target: nn.Module) -> dict[str, Tensor]:
    """Rename the factors of one module to peft's names, and reshape those of a LoRA for peft's layer for `target`.

    A core is folded into down. LoHa and LoKr are unchanged: peft reshapes their product to the weight's shape.
    """
    if "down" not in parts:
        return dict(parts)
    down, up = parts["down"], parts["up"]
    if "mid" in parts:
        down = torch.einsum("rskl,si->rikl", parts["mid"], down.flatten(1))
    convolution = isinstance(target, nn.Conv2d)
    if not convolution:
        down, up = down.flatten(1), up.flatten(1)
    elif down.ndim == 2:
        down, up = down[..., None, None], up[..., None, None]
    found = {"lora_A": down, "lora_B": up}
    if (magnitude := parts.get("magnitude", parts.get("dora_scale"))) is not None:
        found["lora_magnitude_vector"] = magnitude.reshape((1, -1, 1, 1) if convolution else -1)
    return found


def _fill(layer: Any, factors: Mapping[str, Tensor], scale: float) -> None:
    """Replace the factors that peft initialised by those of the file, and delete the others."""
    device = layer.get_base_layer().weight.device
    for part in layer.adapter_layer_names:
        held = getattr(layer, part)
        if NAME in held and part not in factors:
            del held[NAME]
    for part, factor in factors.items():
        held, parameter = getattr(layer, part), nn.Parameter(factor.to(device).contiguous())  # peft takes views
        if isinstance(held, nn.ModuleDict):
            held[NAME].weight = parameter
        else:
            held[NAME] = parameter
    layer.scaling[NAME] = scale


def _plain(shape: Shape) -> Shape:
    return shape[:2] if set(shape[2:]) <= {1} else shape
