"""How much arithmetic an evaluation is, and how much the machine can do."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from eval.speed.clock import seconds_of

ATTENTION = "_scaled_dot_product_{}"
KERNELS = ("flash_attention", "flash_attention_for_cpu", "efficient_attention", "cudnn_attention")


def count_flops(call: Callable[[], object]) -> int:
    """Additions and multiplications in the matrix products and convolutions of `call`.

    The counter sees the thread that started it and no other, so `call` gets one thread: models come in turn then.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with flop_counter() as counter:
            call()
    finally:
        torch.set_num_threads(threads)
    return counter.get_total_flops()


def flop_counter() -> FlopCounterMode:
    """What counts the matrix products and convolutions of its own thread."""
    return FlopCounterMode(display=False, custom_mapping=_attention_formulas())


def measure_matrix_peak(device: torch.device, dtype: torch.dtype, quick: bool = False) -> float:
    """The most FLOP a second that a product of two large random matrices reached here.

    Also where the product is a convolution's: on some processors the library that computes those is twice as fast.
    """
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)

    def rate(product: Callable[[], object], flops: int) -> float:
        return flops / min(seconds_of(product, device) for _ in range(20))

    gpu, best = device.type == "cuda", 0.0
    for side in (256,) if quick else (4096, 8192) if gpu else (256, 512, 1024, 2048):
        a, b = draw(side, side), draw(side, side)
        best = max(best, rate(lambda a=a, b=b: torch.mm(a, b), 2 * side**3))
    width, cells = (64, 16) if quick else (1024, 64) if gpu else (256, 64)
    x, w = draw(2, width, cells, cells), draw(width, width, 3, 3)
    with torch.no_grad():
        return max(best, rate(lambda: torch.conv2d(x, w, padding=1), 2 * x.numel() * w[0].numel()))


def _attention_formulas() -> dict[Any, Any]:
    """Attention's two products and the four of its gradient, whichever kernel does them.

    PyTorch counts none in the CPU's kernel, and in a GPU's also what the kernel computes a second time.
    """
    formulas: dict[Any, Any] = {}
    for kernel in KERNELS:
        for suffix, formula in (("", _forward), ("_backward", _backward)):
            name = ATTENTION.format(kernel)
            name = name.replace("_for_cpu", "_for_cpu_backward") if suffix and "_for_cpu" in name else name + suffix
            if hasattr(torch.ops.aten, name):
                formulas[getattr(torch.ops.aten, name)] = formula
    return formulas


def _forward(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    """softmax(q k^T) v: the shapes are (..., tokens, width)."""
    return 2 * prod(query) * key[-2] + 2 * prod(query[:-1]) * key[-2] * value[-1]


def _backward(grad_out: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return 2 * _forward(query, key, value)
