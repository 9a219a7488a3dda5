"""The doctor on computing: one gradient of the contrast (Eq. 7), between two networks of one small convolution.

A processor is also timed in bfloat16: without instructions for it, it is many times slower.
"""

import time

import torch
from torch.nn.functional import conv2d

from ..messages import note
from ..method.models import ModelPair, NetworkEpsModel
from ..method.objective import contrast
from ..method.schedule import Schedule
from .finding import REINSTALL, Finding, first_line
from .machine import Machine

TOLERANCE = 0.01  # relative; TF32, which GPUs use for convolutions, is off by 0.001
QUICKER = 1.2  # times as fast: more than noise


def check_computing(machine: Machine) -> list[Finding]:
    """A small gradient comes out right on the GPU, or on the processor where the GPU must not be touched."""
    device = machine.device
    try:
        error = gradient_error(device)
    except RuntimeError as refusal:
        problem = note("doctor.gradient_refused", device=device, error=first_line(refusal))
        return [Finding("computing", "error", problem, note("doctor.fix_gradient_refused", command=REINSTALL))]
    if not error <= TOLERANCE:  # NaN is no answer
        problem = note("doctor.gradient_wrong", device=device)
        return [Finding("computing", "error", problem, note("doctor.fix_gradient_wrong", command=REINSTALL))]
    return [Finding("computing", "ok", note("doctor.gradient", device=device))]


def check_bfloat16(machine: Machine) -> list[Finding]:
    """Whether `--precision bfloat16` saves time on this processor, which depends on its instructions alone."""
    if machine.on_zerogpu or machine.device == "cuda":
        return []
    times = bfloat16_speed()
    if times > QUICKER:
        return [Finding("bfloat16", "ok", note("doctor.bfloat16_faster", times=times))]
    return [Finding("bfloat16", "ok", note("doctor.bfloat16_slower", times=1 / times))]


def gradient_error(device: str) -> float:
    """The relative distance of the gradient in float32 on `device` from that in float64 on the processor.

    Raises:
        RuntimeError: if the device, or torch as it was built, cannot compute it.
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
