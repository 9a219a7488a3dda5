"""Where a pair computes, and in which precision: for the command line, the page and a repeated run alike."""

from dataclasses import dataclass

import torch

from .errors import UserError
from .intake.family import guess_base
from .intake.layout import Checkpoint

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
WIDE_FAMILIES = ("SD 3",)  # leave the range of float16; of SDXL only the autoencoder does, and runs in float32


@dataclass(frozen=True)
class ComputeTarget:
    """What `families.load_pair` wants to be told."""

    device: str  # "cpu" or "cuda"
    dtype: torch.dtype  # that networks and autoencoder compute in; states and steps are float32 in any case


def choose_device(base: Checkpoint, device: str = "auto", precision: str = "auto") -> ComputeTarget:
    """The GPU if there is one, in half precision, which halves memory and more; else the CPU in float32.

    On a CPU bfloat16 is for whoever asks for it: quicker where the processor has instructions for it, but its last
    digits differ more from machine to machine.

    Raises:
        UserError: for a GPU where none is, and float16 on a CPU, which has no convolutions in it.
    """
    if device not in DEVICES:
        raise UserError(f"device {device!r} was given; accepted: {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r} was given; accepted: {', '.join(PRECISIONS)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was given, but torch sees no GPU here; accepted here: auto, cpu")
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if chosen == "cpu" and precision == "float16":
        raise UserError("precision 'float16' was given for a CPU; accepted there: auto, float32, bfloat16")
    if precision != "auto":
        return ComputeTarget(chosen, getattr(torch, precision))
    if chosen == "cpu":
        return ComputeTarget(chosen, torch.float32)
    wide = (guess_base(base).family or "").startswith(WIDE_FAMILIES) and torch.cuda.is_bf16_supported()
    return ComputeTarget(chosen, torch.bfloat16 if wide else torch.float16)


def recorded_device(base: Checkpoint, device: str, precision: str) -> ComputeTarget:
    """The place of a recorded run, or the nearest to it on this machine."""
    here = device if device == "cuda" and torch.cuda.is_available() else "cpu"
    known = precision if precision in PRECISIONS and not (here == "cpu" and precision == "float16") else "auto"
    return choose_device(base, here, known)
