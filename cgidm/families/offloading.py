"""Offloading: one module computes on the device while the weights of the others wait in host memory."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from .codec import VaeCodec
from .conditioning import ConditionedNetwork


class WeightOffloader:
    """Loads weights onto the device on demand and offloads them after use, until `pin_all` is called.

    Weights are never written, so offloading copies nothing: the host's tensors are put back in place.

    Compute a model's loss *and* gradient before using the other model. A backward pass fails once the weights of its
    network have been moved.

    Attributes:
        device: where modules compute.
        offloads: False keeps every loaded module on the device.
        page_lock: True page-locks host memory, which pays where modules come and go.
        pinned: True after `pin_all`: nothing moves any more.
    """

    def __init__(
        self, device: torch.device, *, offloads: bool = True, copy: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.device = device
        self.offloads = offloads
        self.page_lock = False
        self.pinned = False
        self._copy = copy or (lambda w: w.to(device, non_blocking=True))
        self._loaded: dict[nn.Module, dict[Tensor, Tensor]] = {}  # weight on the device -> its copy in host memory

    def __call__(self, *modules: nn.Module) -> None:
        """Load `modules` onto the device; offload the others."""
        if self.pinned:
            return
        if self.offloads:
            self._offload_all_but(modules)
        for module in modules:
            if module not in self._loaded:
                hosts = self._loaded[module] = {}
                for weight in _weights(module):
                    hosts[weight] = host = self._on_host(weight)
                    weight.data = self._copy(host)

    def start_offloading(self, *, page_lock: bool) -> None:
        """From now on only the module in use stays on the device."""
        self.offloads, self.page_lock = True, page_lock

    def transfer(self, module: nn.Module, successor: nn.Module) -> None:
        """Move `successor`, which holds all weights of `module`, instead of `module` from now on."""
        if module in self._loaded:
            self._loaded[successor] = self._loaded.pop(module)

    def pin_all(self, modules: Collection[nn.Module]) -> None:
        """Load `modules` for good, offload everything else, and move nothing any more."""
        self._offload_all_but(modules)
        self.offloads = False
        self(*modules)
        self._loaded.clear()
        self.pinned = True

    def wrap(self, model: ConditionedNetwork) -> ConditionedNetwork:
        """The same model, whose network and autoencoder are loaded when they are called."""

        def forward(network: nn.Module, *inputs: Tensor) -> Tensor:
            self(model.weight_owner)
            return model.forward(network, *inputs)

        codec = model.codec
        if isinstance(codec, VaeCodec):
            vae = codec.vae
            codec = replace(codec, load=lambda: self(vae))
        return replace(model, forward=forward, codec=codec, device=self.device)

    def _offload_all_but(self, modules: Collection[nn.Module]) -> None:
        for module in [m for m in self._loaded if m not in modules]:
            hosts = self._loaded.pop(module)
            for weight in _weights(module):
                weight.data = hosts[weight] if weight in hosts else self._on_host(weight)

    def _on_host(self, weight: Tensor) -> Tensor:
        """Its values in host memory. Page-locked memory is copied twice as fast, without blocking the host."""
        host = weight.data.cpu()
        return host.pin_memory() if self.page_lock and not host.is_pinned() else host


def _weights(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
