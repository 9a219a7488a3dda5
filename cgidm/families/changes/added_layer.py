"""A layer with a change of its own weight and bias beside it.

Linear layers, convolutions and norms are linear in weight and bias. So the layer with W + dW and b + db computes what
the layer with W and b computes, plus what the layer with dW and db does. W and b stay those that the base shares.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .own_layer import OwnLayer


class AddedLayer(OwnLayer):
    """A layer, and the same layer with the change of its weight and bias instead of them; the outputs are added.

    Args:
        layer: the layer; its weights are shared, not copied.
        weight: the change of its weight, in float32; None: none.
        bias: the change of its bias, in float32; None: none.
    """

    def __init__(self, layer: nn.Module, weight: Tensor | None, bias: Tensor | None) -> None:
        super().__init__(layer)
        own: Any = layer
        weights = [*layer.parameters(), *layer.buffers()]
        self.added: Any = copy.deepcopy(layer, memo={id(w): w for w in weights})
        self.added.weight = nn.Parameter(torch.zeros_like(own.weight, dtype=torch.float32), requires_grad=False)
        if weight is not None:
            self.added.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.added.bias = None if bias is None else nn.Parameter(bias.contiguous(), requires_grad=False)

    def differences(self) -> tuple[Tensor, Tensor | None]:
        """The change of the weight, and of the bias if there is one, in float32."""
        return self.added.weight, self.added.bias

    def compute_change(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the change adds to the output, in float32."""
        return self.added(x.to(self.added.weight.dtype), *args, **kwargs)
