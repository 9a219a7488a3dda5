"""Peak memory: what PyTorch allocated on a GPU; on the CPU, what the whole process had in memory, Python included."""

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

import torch

STATUS, CLEAR, MEMORY = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


def reset_peak(device: torch.device) -> None:
    """Give back what nobody holds any more, and start counting from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError, AttributeError):  # another C library keeps what it was given
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with suppress(OSError):  # without /proc the peak is that of the process's whole life
        CLEAR.write_text("5")


def read_peak(device: torch.device) -> int | None:
    """Bytes, since `reset_peak`; None where nobody counts them."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _kilobytes(STATUS, "VmHWM")


def resident_memory(device: torch.device) -> int | None:
    """Bytes in use now, counted as `read_peak` counts them."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _kilobytes(STATUS, "VmRSS")


def total_memory(device: torch.device) -> int | None:
    """Bytes that the device has."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return _kilobytes(MEMORY, "MemTotal")


def _kilobytes(path: Path, name: str) -> int | None:
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
