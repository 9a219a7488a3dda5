"""The device on which a pair computes, and its precision: for the command line, the page and a repeated run."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from .errors import UserError
from .intake.family import guess_base
from .intake.layout import Checkpoint

DEVICES = ("auto", "cpu", "cuda")
Quantisation = Literal["fp8", "nf4"]  # weights in 8 or 4 bits; what is computed keeps its precision
QUANTISATIONS: tuple[Quantisation, ...] = get_args(Quantisation)
PRECISIONS = ("auto", "float32", "bfloat16", "float16", *QUANTISATIONS)
# leave the range of float16, or were trained in bfloat16; of SDXL only the autoencoder does, and runs in float32
WIDE_FAMILIES = ("SD 3", "FLUX", "FLUX.2", "Z-Image", "Qwen-Image", "Chroma", "Krea 2", "Lumina 2")


@dataclass(frozen=True)
class ComputeTarget:
    """The device and precision of a pair, as `families.load_pair` takes them."""

    device: str  # "cpu" or "cuda"
    dtype: torch.dtype  # of networks and autoencoder; states and steps are always float32
    quantisation: Quantisation | None = None  # of the networks' large weights


def choose_device(base: Checkpoint, device: str = "auto", precision: str = "auto") -> ComputeTarget:
    """Choose the GPU in half precision if there is one, else the CPU in float32.

    On a CPU bfloat16 is used on request only: it is quicker where the processor has instructions for it, but its last
    digits differ more from machine to machine.

    Args:
        base: the base model, whose family decides on the kind of half precision.
        device: one of `DEVICES`.
        precision: one of `PRECISIONS`.

    Raises:
        UserError: if the device or precision is unknown, or not available on this machine.
    """
    if device not in DEVICES:
        raise UserError("device.unknown_device", given=device, accepted=list(DEVICES))
    if precision not in PRECISIONS:
        raise UserError("device.unknown_precision", given=precision, accepted=list(PRECISIONS))
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device.no_gpu")
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if chosen == "cpu" and precision == "float16":  # torch has no convolutions in it there
        raise UserError("device.float16_on_cpu")
    for quantisation in QUANTISATIONS:
        if precision == quantisation:
            half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
            return ComputeTarget(chosen, torch.float32 if chosen == "cpu" else half, quantisation)
    if precision != "auto":
        return ComputeTarget(chosen, getattr(torch, precision))
    if chosen == "cpu":
        return ComputeTarget(chosen, torch.float32)
    wide = (guess_base(base).family or "").startswith(WIDE_FAMILIES) and torch.cuda.is_bf16_supported()
    return ComputeTarget(chosen, torch.bfloat16 if wide else torch.float16)


def recorded_device(base: Checkpoint, device: str, precision: str) -> ComputeTarget:
    """Choose the device and precision of a recorded run, or the nearest to them on this machine."""
    here = device if device == "cuda" and torch.cuda.is_available() else "cpu"
    known = precision if precision in PRECISIONS and not (here == "cpu" and precision == "float16") else "auto"
    return choose_device(base, here, known)
