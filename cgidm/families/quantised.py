"""Weights in 8 or 4 bits, for a base that does not fit a card: the same numbers in base and suspect.

"fp8" is float8_e4m3fn with a scale for each row. "nf4" is the 4-bit NormalFloat of QLoRA (Dettmers et al. 2023), with a
scale for each 64 numbers, as bitsandbytes packs it. Activations keep their precision, and so do gradients.

The packed numbers are plain tensors. So base and suspect share them, they move between host and device, and what they
need is counted on tensors without numbers, all like other weights. The tensor classes of torchao and bitsandbytes allow
none of these. A backward pass unpacks a weight anew, so no graph holds it unpacked.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..device import Quantisation

LEAST = 2**16  # numbers of a weight that is packed: small layers hold what time and prompt do to all others
LARGEST_FP8 = 448.0
BLOCK = 64  # numbers with one scale in nf4
NF4 = (  # the 16 values, of Appendix E of the paper
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


class QuantisedLinear(nn.Module):
    """A linear layer whose weight is packed.

    Args:
        layer: the layer; its bias is shared, its weight is packed and not kept.
        kind: how it is packed.
    """

    def __init__(self, layer: nn.Linear, kind: Quantisation) -> None:
        super().__init__()
        self.in_features, self.out_features, self.kind = layer.in_features, layer.out_features, kind
        self.dtype, self.bias = layer.weight.dtype, layer.bias
        packed, scale = (_pack_fp8 if kind == "fp8" else _pack_nf4)(layer.weight.detach())
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)

    @property
    def weight(self) -> Tensor:
        """The weight, unpacked."""
        own: Any = self
        if self.kind == "fp8":
            return own.packed.to(self.dtype) * own.scale[:, None].to(self.dtype)
        values = torch.tensor(NF4, device=own.packed.device)
        pairs = torch.stack([values.repeat_interleave(16), values.repeat(16)], dim=1)  # of each byte
        blocks = pairs[own.packed.int()].reshape(-1, BLOCK) * own.scale[:, None]
        return blocks.reshape(self.out_features, self.in_features).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer."""
        return _Product.apply(x, self)  # type: ignore[no-any-return]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad @ ctx.layer.weight.to(grad.dtype), None


@torch.no_grad()
def quantise(networks: Sequence[nn.Module], kind: Quantisation) -> None:
    """Pack the large linear weights of the first network, in place, and wherever the others share them.

    Args:
        networks: the base, and networks on its very weights; or one network.
        kind: how weights are packed.
    """
    own = {id(weight) for weight in networks[0].parameters()}
    packed: dict[int, QuantisedLinear] = {}
    for network in networks:
        for name, layer in list(network.named_modules()):
            if type(layer) is not nn.Linear or id(layer.weight) not in own or not _is_large(layer.weight):
                continue
            if id(layer.weight) not in packed:
                packed[id(layer.weight)] = QuantisedLinear(layer, kind)
            network.set_submodule(name, packed[id(layer.weight)])


def _is_large(weight: Tensor) -> bool:
    return weight.numel() >= LEAST and weight.numel() % BLOCK == 0


def _pack_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight.abs().amax(1).float().clamp(min=1e-12) / LARGEST_FP8
    return (weight.float() / scale[:, None]).to(torch.float8_e4m3fn), scale


def _pack_nf4(weight: Tensor) -> tuple[Tensor, Tensor]:
    blocks = weight.float().reshape(-1, BLOCK)
    scale = blocks.abs().amax(1)
    values = torch.tensor(NF4, device=weight.device)
    between = (values[1:] + values[:-1]) / 2
    codes = torch.bucketize(blocks / scale[:, None].clamp(min=1e-12), between).to(torch.uint8).flatten()
    return codes[0::2] * 16 + codes[1::2], scale
