"""A layer with a change of its own weight and bias beside it, for changes that peft's layers do not compute.

Linear layers, convolutions and norms are linear in weight and bias. So the layer with W + dW and b + db computes what
the layer with W and b computes, plus what the layer with dW and db does. W and b stay those that the base shares.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class AddedLayer(nn.Module):
    """A layer, and the same layer with the change of its weight and bias instead of them; the outputs are added.

    Args:
        layer: the layer; its weights are shared, not copied.
        weight: the change of its weight, in float32; None: none.
        bias: the change of its bias, in float32; None: none.
    """

    def __init__(self, layer: nn.Module, weight: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        own: Any = layer
        self.base_layer = layer
        weights = [*layer.parameters(), *layer.buffers()]
        self.added: Any = copy.deepcopy(layer, memo={id(w): w for w in weights})
        self.added.weight = nn.Parameter(torch.zeros_like(own.weight, dtype=torch.float32), requires_grad=False)
        if weight is not None:
            self.added.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.added.bias = None if bias is None else nn.Parameter(bias.contiguous(), requires_grad=False)
        self.merged = False

    def get_base_layer(self) -> nn.Module:
        """The layer without the change."""
        return self.base_layer

    @property
    def weight(self) -> Tensor:
        """The weight of the layer without the change; networks look at its type."""
        own: Any = self.base_layer
        return own.weight

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer without the change."""
        own: Any = self.base_layer
        return own.bias

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the changed layer."""
        out = self.base_layer(x, *args, **kwargs)
        if self.merged:
            return out
        return out + self.added(x.to(self.added.weight.dtype), *args, **kwargs).to(out.dtype)

    def merge(self, weight: Tensor, bias: Tensor | None) -> None:
        """Compute with this weight and bias, which hold the change, instead of with the layer's own."""
        own: Any = self.base_layer
        own.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            own.bias = nn.Parameter(bias, requires_grad=False)
        self.merged = True
