"""Does this device compute? One gradient of the contrast (Eq. 7), between two networks of one small convolution.

And is its processor the quicker one in bfloat16, or, for want of instructions, many times slower?
"""

import time

import torch
from torch.nn.functional import conv2d

from ..method.models import ModelPair, NetworkEpsModel
from ..method.objective import contrast
from ..method.schedule import Schedule

TOLERANCE = 0.01  # relative; TF32, which GPUs use for convolutions, is off by 0.001


def gradient_error(device: str) -> float:
    """How far the gradient in float32 on `device` is from that in float64 on the processor, relative to its length.

    Raises:
        RuntimeError: if the device, or torch as it was built, cannot do it.
    """
    exact = _gradient("cpu", torch.float64)
    return float((_gradient(device, torch.float32) - exact).norm() / exact.norm())


def bfloat16_speed() -> float:
    """How many times as fast as in float32 the processor convolves in bfloat16: the best of five attempts each."""
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(6):
        for dtype, taken in seconds.items():
            x, kernel = torch.ones(4, 64, 16, 16, dtype=dtype), torch.ones(64, 64, 3, 3, dtype=dtype)
            started = time.perf_counter()
            conv2d(x, kernel, padding=1)
            taken.append(time.perf_counter() - started)
    full, half = (min(taken[1:]) for taken in seconds.values())  # the first one prepares
    return full / half


def _gradient(device: str, dtype: torch.dtype) -> torch.Tensor:
    kernels = torch.linspace(0, 50, 2 * 4 * 4 * 9, dtype=torch.float64).sin().view(2, 4, 4, 3, 3).to(device, dtype)
    z, eps = torch.linspace(0, 90, 2 * 4 * 8 * 8, dtype=torch.float64).cos().view(2, 1, 4, 8, 8).to(device, dtype)
    schedule = Schedule.ddpm(torch.linspace(0.99, 0.01, 10))
    base, suspect = (
        NetworkEpsModel(lambda x, t, kernel=kernel: conv2d(x, kernel, padding=1), schedule, "eps") for kernel in kernels
    )
    start = z.clone().requires_grad_()
    value = contrast(ModelPair(base, suspect, schedule), start, torch.tensor([5], device=device), eps)
    (gradient,) = torch.autograd.grad(value.sum(), start)
    return gradient.double().cpu()
