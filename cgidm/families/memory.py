"""Count how much memory a pair needs, without computing, and fit the pair into what is free."""

import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from math import ceil, sqrt
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
from .adapters import share_weights
from .codec import VaeCodec
from .conditioning import ConditionedNetwork
from .offloading import WeightOffloader

# networks whose control flow depends on values, or that have operators of their own
UNCOUNTABLE = (
    *(DataDependentOutputException, DynamicOutputShapeException),
    *(UnsupportedFakeTensorException, UnsupportedOperatorException),
)
ROUNDED_TO = 64  # pixels: sides of large pictures are counted up to this
_COUNTED: dict[tuple[Any, ...], int] = {}  # networks of the same shapes take the same memory


def fit_pair(
    base: ConditionedNetwork,
    suspect: ConditionedNetwork,
    offloader: WeightOffloader,
    *,
    dtype: torch.dtype,
    free: int | None,
    joint: ConditionedNetwork | None = None,
    pixels: int = 0,
) -> MemoryPlan:
    """Choose how the pair is held in memory, and apply the plan.

    Where the work cannot be counted, the plan assumes enough memory for everything.

    Args:
        base: the public model.
        suspect: the model that was fine-tuned from it.
        offloader: moves the weights of the pair.
        dtype: the precision that the networks compute in.
        free: bytes that were free on the device before anything was loaded.
        joint: the network that computes both models in one call, if there is one.
        pixels: of the largest picture, if that is more than the square that the base was made for.
    """
    resolution = max(base.resolution, ceil(sqrt(pixels) / ROUNDED_TO) * ROUNDED_TO)
    owners = list(dict.fromkeys((base.weight_owner, suspect.weight_owner)))
    encoder = base.codec if isinstance(base.codec, VaeCodec) else None
    vae = None if encoder is None else encoder.vae

    def row(checkpointing: bool) -> int:
        offloader(suspect.weight_owner)
        return row_bytes(suspect, dtype, checkpointing, resolution)

    def picture(tiling: bool) -> int:
        if encoder is None:
            return 0
        offloader(encoder.vae)
        return picture_bytes(replace(encoder, load=None), resolution, tiling)

    host = offloader.device.type == "cpu"
    both = (base.network, suspect.network)
    sizes = (weight_bytes(*both),) if len(owners) == 1 else tuple(weight_bytes(n) for n in owners)
    codec = 0 if vae is None else weight_bytes(vae)
    try:
        plan = plan_memory(free, sizes, codec, row, picture, host=host)
    except UNCOUNTABLE:
        plan = plan_memory(None, sizes, codec, row, picture, host=host)
    for network in (*both, *([] if joint is None else [joint.network])):
        set_checkpointing(network, plan.checkpointing)
    if vae is not None:
        set_tiling(vae, resolution, plan.tiling)
    if plan.offloading:
        offloader.start_offloading(page_lock=not host)
        offloader(suspect.weight_owner)
    else:
        offloader.pin_all([*owners, *([] if vae is None else [vae])])
    return plan


def row_bytes(
    model: ConditionedNetwork,
    dtype: torch.dtype,
    checkpointing: bool,
    resolution: int | None = None,
    *,
    gradient: bool = True,
) -> int:
    """Count the peak bytes of one row's forward and backward pass, weights excluded.

    Args:
        model: the network.
        dtype: the precision that it computes in.
        checkpointing: whether activations are computed twice.
        resolution: side of a square picture, in pixels; None: the one that the network was made for.
        gradient: False counts the forward pass alone.
    """
    network: Any = share_weights(model.network)  # some keep tables of positions, which would be those of this count
    model, device = replace(model, network=network), model.device
    cells = (resolution or model.resolution) // model.downscale
    shape = (1, model.channels, cells, cells)

    def evaluate() -> None:
        with torch.set_grad_enabled(gradient):
            x = torch.zeros(shape, device=device).requires_grad_(gradient)
            loss = model.predict(x.to(dtype), torch.zeros(1, device=device)).float().square().sum()
            if gradient:
                torch.autograd.grad(loss, x)

    set_checkpointing(network, checkpointing)
    return _counted((network, "row", dtype, checkpointing, cells, gradient), evaluate)


def picture_bytes(codec: VaeCodec, resolution: int, tiling: bool) -> int:
    """Count the peak bytes of encoding and decoding one picture of `resolution` pixels a side."""
    vae = codec.vae
    weight, before = next(vae.parameters()), vae.use_tiling

    def round_trip() -> None:
        codec.decode(codec.encode(torch.zeros(1, 3, resolution, resolution, device=weight.device)))

    set_tiling(vae, resolution, tiling)
    try:
        return _counted((vae, "picture", resolution, tiling), round_trip)
    finally:
        set_tiling(vae, resolution, before)


def set_checkpointing(network: Any, on: bool) -> None:
    """Switch activation checkpointing; diffusers 0.42 applies it wherever gradients flow, in `eval` mode too."""
    if getattr(network, "_supports_gradient_checkpointing", False):
        (network.enable_gradient_checkpointing if on else network.disable_gradient_checkpointing)()


def set_tiling(vae: Any, resolution: int, on: bool) -> None:
    """Switch tiling. Tiles have half the picture's side; diffusers' own are as large as the training pictures."""
    if on and hasattr(vae, "tile_sample_stride_height"):  # those of video, whose tiles overlap by a quarter
        side, stride = resolution // 2, resolution * 3 // 8
        vae.enable_tiling(side, side, stride, stride)
    elif on:
        vae.tile_sample_min_size = resolution // 2
        vae.tile_latent_min_size = resolution // 2 // 2 ** (len(vae.config.block_out_channels) - 1)
        vae.enable_tiling()
    else:
        vae.disable_tiling()


def weight_bytes(*modules: nn.Module) -> int:
    """Count the bytes of all weights of `modules` together; shared weights count once."""
    weights = {id(w): w for module in modules for w in (*module.parameters(), *module.buffers())}
    return sum(w.numel() * w.element_size() for w in weights.values())


def count_peak(task: Callable[[], object]) -> int:
    """Count the peak bytes of the tensors that `task` makes. It runs on fake tensors: nothing is computed.

    Workspaces of kernels and tensors made earlier are not included.
    """
    # PyTorch's engine counts the devices at its first backward pass. If fake devices were among them, it would fail in
    # every process forked from this one. So the first backward pass here is a real one.
    torch.autograd.grad((x := torch.zeros(1, requires_grad=True)).sum(), x)
    live = _Live()
    with FakeTensorMode(allow_non_fake_inputs=True), live:
        task()
    return live.peak


def _counted(key: tuple[Any, ...], task: Callable[[], object]) -> int:
    module, *rest = key
    weights = (*module.named_parameters(), *module.named_buffers())  # packed weights are buffers
    shapes = tuple((n, w.shape, w.dtype) for n, w in weights)
    full_key = (type(module), json.dumps(dict(module.config), sort_keys=True, default=str), shapes, *rest)
    if full_key not in _COUNTED:
        _COUNTED[full_key] = count_peak(task)
    return _COUNTED[full_key]


class _Live(TorchDispatchMode):
    """Adds up the storages that operators allocate, and subtracts them when they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(r.alias_info is not None for r in func._schema.returns):
            return out  # a view or an in-place operator allocates nothing
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
