"""How much memory a pair's work takes, counted without doing it, and the pair fitted into what is free."""

import json
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..method.memory_plan import MemoryPlan, plan_memory
from .bind import Bound
from .codec import VaeCodec
from .offloading import Turns

# a network whose way depends on its numbers, or that has operations of its own
UNCOUNTABLE = (
    *(DataDependentOutputException, DynamicOutputShapeException),
    *(UnsupportedFakeTensorException, UnsupportedOperatorException),
)
_COUNTED: dict[tuple[Any, ...], int] = {}  # a network of the same shapes takes the same


def fit_pair(first: Bound, second: Bound, turns: Turns, dtype: torch.dtype, free: int | None) -> MemoryPlan:
    """Choose how the pair is held, and hold it so. `free` were the device's bytes before anything was loaded.

    Where the work cannot be counted, the pair is held as if there were enough for everything.
    """
    networks = list(dict.fromkeys((first.holder, second.holder)))
    vae = first.codec.vae if isinstance(first.codec, VaeCodec) else None

    def row(checkpointing: bool) -> int:
        turns(second.holder)
        return row_bytes(second, dtype, checkpointing)

    def picture(tiling: bool) -> int:
        if vae is None:
            return 0
        turns(vae)
        return picture_bytes(vae, first.side, tiling)

    host = turns.device.type == "cpu"
    both = (first.network, second.network)
    sizes = (weight_bytes(*both),) if len(networks) == 1 else tuple(weight_bytes(n) for n in networks)
    codec = 0 if vae is None else weight_bytes(vae)
    try:
        plan = plan_memory(free, sizes, codec, row, picture, host=host)
    except UNCOUNTABLE:
        plan = plan_memory(None, sizes, codec, row, picture, host=host)
    for bound in (first, second):
        checkpoint(bound.network, plan.checkpointing)
    if vae is not None:
        tile(vae, first.side, plan.tiling)
    if plan.turns:
        turns.keep, turns.pin = False, not host
        turns(second.holder)
    else:
        turns.stay([*networks, *([] if vae is None else [vae])])
    return plan


def row_bytes(bound: Bound, dtype: torch.dtype, checkpointing: bool) -> int:
    """The most bytes that one row's forward pass and gradient hold at a time, beside the weights."""
    network: Any = bound.network
    config, before = network.config, getattr(network, "is_gradient_checkpointing", False)
    shape, device = (1, config.in_channels, config.sample_size, config.sample_size), bound.device

    def evaluate() -> None:
        x = torch.zeros(shape, device=device).requires_grad_()
        answer = bound.call(x.to(dtype), torch.zeros(1, device=device))
        torch.autograd.grad(answer.float().square().sum(), x)

    checkpoint(network, checkpointing)
    try:
        return _counted((network, "row", dtype, checkpointing), evaluate)
    finally:
        checkpoint(network, before)


def picture_bytes(vae: Any, side: int, tiling: bool) -> int:
    """The most bytes that one picture of `side` pixels holds at a time on its way to a latent and back."""
    weight, before = next(vae.parameters()), vae.use_tiling

    def there_and_back() -> None:
        codec = VaeCodec(vae)
        codec.decode(codec.encode(torch.zeros(1, 3, side, side, device=weight.device)))

    tile(vae, side, tiling)
    try:
        return _counted((vae, "picture", side, tiling), there_and_back)
    finally:
        tile(vae, side, before)


def checkpoint(network: Any, on: bool) -> None:
    """diffusers 0.42 computes activations twice wherever gradients flow, in `eval` too."""
    if getattr(network, "_supports_gradient_checkpointing", False):
        (network.enable_gradient_checkpointing if on else network.disable_gradient_checkpointing)()


def tile(vae: Any, side: int, on: bool) -> None:
    """Tiles of half the picture's side; diffusers' own are as large as the pictures that the model was trained on."""
    if on:
        vae.tile_sample_min_size = side // 2
        vae.tile_latent_min_size = side // 2 // 2 ** (len(vae.config.block_out_channels) - 1)
        vae.enable_tiling()
    else:
        vae.disable_tiling()


def weight_bytes(*modules: nn.Module) -> int:
    """Of all of them together: what they have in common counts once."""
    weights = {id(w): w for module in modules for w in (*module.parameters(), *module.buffers())}
    return sum(w.numel() * w.element_size() for w in weights.values())


def count_peak(task: Callable[[], object]) -> int:
    """The most bytes of tensors that `task` makes and holds at a time. Only shapes travel: nothing is computed.

    Kernels' workspaces are not seen, nor what tensors made before hold.
    """
    # PyTorch's engine counts the devices at its first backward pass. Pretended ones among them would make it refuse to
    # work in every process that is forked from this one, so that pass is a real one.
    torch.autograd.grad((x := torch.zeros(1, requires_grad=True)).sum(), x)
    live = _Live()
    with FakeTensorMode(allow_non_fake_inputs=True), live:
        task()
    return live.peak


def _counted(key: tuple[Any, ...], task: Callable[[], object]) -> int:
    module, *rest = key
    shapes = tuple((n, w.shape, w.dtype) for n, w in module.named_parameters())
    whole = (type(module), json.dumps(dict(module.config), sort_keys=True, default=str), shapes, *rest)
    if whole not in _COUNTED:
        _COUNTED[whole] = count_peak(task)
    return _COUNTED[whole]


class _Live(TorchDispatchMode):
    """Adds up the storages that operations make, and takes them off when they die."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(r.alias_info is not None for r in func._schema.returns):
            return out  # a view, or an operation in place: nothing new
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and id(storage := x.untyped_storage()) not in self._known:
                size = storage.nbytes()
                self._known.add(id(storage))
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._forget, id(storage), size)
        return out

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
