"""What our own adapted layers have in common: the layer below, whose weights are shared, and how a change is merged."""

from typing import Any

from torch import Tensor, nn


class OwnLayer(nn.Module):
    """A layer with a change beside it, for changes that peft's layers do not compute.

    Args:
        layer: the layer; its weights are shared, not copied.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = layer
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
        return getattr(self.base_layer, "bias", None)

    def differences(self) -> tuple[Tensor, Tensor | None]:
        """The change of the weight, and of the bias if there is one, in float32."""
        raise NotImplementedError

    def compute_change(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the change adds to the output, in float32."""
        raise NotImplementedError

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the changed layer."""
        out = self.base_layer(x, *args, **kwargs)
        return out if self.merged else out + self.compute_change(x, *args, **kwargs).to(out.dtype)

    def merge(self, weight: Tensor, bias: Tensor | None) -> None:
        """Compute with this weight and bias, which hold the change, instead of with the layer's own."""
        own: Any = self.base_layer
        own.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            own.bias = nn.Parameter(bias, requires_grad=False)
        self.merged = True
