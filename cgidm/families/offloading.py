"""Weights that take turns on a device: one module computes there, the others wait in host memory."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from .bind import Bound
from .codec import VaeCodec


class Turns:
    """Brings modules onto the device before they compute and puts the others away. Until `stay` is called.

    A pair is loaded in turns, so that a device never holds more than it must; a pair that does not fit goes on so.
    Weights are never written, so that putting a module away costs nothing: what came from the host is still there.

    The recovery asks one model for its loss and gradient before it turns to the other. A graph whose network was put
    away cannot be walked back: PyTorch refuses, since the weights lie elsewhere.
    """

    def __init__(self, device: torch.device, keep: bool = False, carry: Callable[[Tensor], Tensor] | None = None):
        self.device = device
        self.keep = keep  # there is plenty: nobody is put away
        self.pin = False  # host memory is pinned: worth its cost where modules come and go
        self.staying = False
        self._carry = carry or (lambda w: w.to(device, non_blocking=True))
        self._present: dict[nn.Module, dict[Tensor, Tensor]] = {}  # each weight that is here -> its copy in host memory

    def __call__(self, *modules: nn.Module) -> None:
        """Have `modules` on the device."""
        if self.staying:
            return
        if not self.keep:
            self._put_away(modules)
        for module in modules:
            if module not in self._present:
                homes = self._present[module] = {}
                for weight in _weights(module):
                    homes[weight] = home = self._home(weight)
                    weight.data = self._carry(home)

    def hand_over(self, module: nn.Module, heir: nn.Module) -> None:
        """From now on `heir`, which has the weights of `module`, is moved instead of it."""
        if module in self._present:
            self._present[heir] = self._present.pop(module)

    def stay(self, modules: Collection[nn.Module]) -> None:
        """From now on all of them are on the device, no other is, and nothing moves."""
        self._put_away(modules)
        self.keep = True
        self(*modules)
        self._present.clear()
        self.staying = True

    def seat(self, bound: Bound) -> Bound:
        """The same, but its weights and its autoencoder come when they are called."""

        def answer(*given: Tensor) -> Tensor:
            self(bound.holder)
            return bound.answer(*given)

        if isinstance(bound.codec, VaeCodec):
            vae = bound.codec.vae
            bound.codec.before = lambda: self(vae)
        return replace(bound, answer=answer, device=self.device)

    def _put_away(self, others: Collection[nn.Module]) -> None:
        """All that are here, without those."""
        for module in [m for m in self._present if m not in others]:
            homes = self._present.pop(module)
            for weight in _weights(module):
                weight.data = homes[weight] if weight in homes else self._home(weight)

    def _home(self, weight: Tensor) -> Tensor:
        """Its numbers in host memory: pinned, a copy of them crosses twice as fast, without the host's waiting."""
        home = weight.data.cpu()
        return home.pin_memory() if self.pin and not home.is_pinned() else home


def _weights(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
