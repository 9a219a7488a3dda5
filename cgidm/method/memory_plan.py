"""How a pair is held on its device: chosen from the memory that is free, so that nobody has to know what fits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

MOST_ROWS = 16  # of one call: more are hardly faster on any machine that was measured
# what no count sees: workspaces of kernels, pieces too small to be of use. On the CPU up to 0.8 GB were measured beyond
# the count with SD 1.4 in float32, and three times the count with the embedded model
RESERVE, HOST_RESERVE, TIMES = 500_000_000, 1_000_000_000, 4
AMPLE, AMPLE_TIMES = 4_000_000_000, 40  # free bytes of a host, and so many times the weights: not worth a count
SLACK = 1.1  # what a count is multiplied with: blocks are rounded up
MEMORY, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryPlan:
    """How a pair is held. Rows, checkpointing and turns cost time and leave results alone, but for rounding."""

    networks: int  # 1: an adapter's suspect is the base's own network
    weights: int  # bytes of the networks and the autoencoder
    working: int  # bytes that are wanted at the same moment beside the weights; 0: there is plenty, nobody counted
    free: int | None  # bytes before anything was loaded; None: nobody counts them
    rows_per_call: int = MOST_ROWS
    checkpointing: bool = False  # activations are computed twice instead of kept
    turns: bool = False  # of networks and autoencoder, one at a time is on the device, the others in host memory
    tiling: bool = False  # the autoencoder works in pieces; its pictures differ a little from whole ones
    fits: bool = True  # False: the least that can be done is still more than is free

    def __str__(self) -> str:
        """One line for whoever wonders: "two networks, 3.6 GB of weights; 16 rows at once; ..."."""
        parts = [f"{'two networks' if self.networks == 2 else 'one network'}, {_gb(self.weights)} of weights"]
        parts.append(f"{self.rows_per_call} {'row' if self.rows_per_call == 1 else 'rows'} at once")
        if self.checkpointing:
            parts.append("activations computed twice")
        parts.append("weights take turns on the device" if self.turns else "nothing offloaded")
        if self.tiling:
            parts.append("autoencoder in tiles")
        if self.free is not None:
            parts.append(f"{_gb(self.free)} free")
        if not self.fits:
            parts.append(f"memory may not suffice: {_gb(self.working)} are wanted beside the weights")
        return "; ".join(parts)


def plan_memory(
    free: int | None,
    networks: tuple[int, ...],
    codec: int,
    row: Callable[[bool], int],
    picture: Callable[[bool], int],
    *,
    host: bool,
) -> MemoryPlan:
    """The plan that costs least time among those that fit into `free` bytes.

    `networks` and `codec` are bytes of weights. `row` is how many bytes one row of a forward and backward pass takes
    at most, given whether activations are computed twice; `picture` the same of one picture through the autoencoder,
    given whether it works in tiles. Each is asked only if need be. `host`: the device is the host's own memory, so
    that nothing can be put away there.
    """
    weights = sum(networks) + codec
    if free is None or (host and free > AMPLE + AMPLE_TIMES * weights):
        return MemoryPlan(len(networks), weights, 0, free)

    def needs(counted: int) -> int:
        return int(SLACK * counted) + min(TIMES * counted, HOST_RESERVE if host else RESERVE)

    # checkpointing costs a third more arithmetic; turns cost a transfer of all weights in every step; tiles cost truth
    ladder = [(tiling, turns, twice) for tiling in (False, True) for turns in (False, True) for twice in (False, True)]
    for tiling, turns, twice in ladder:
        if turns and host:
            continue
        beside_row, beside_picture = (max(networks), codec) if turns else (weights, weights)
        if beside_picture + needs(picture(tiling)) > free:
            continue
        for rows in (MOST_ROWS, 8, 4, 2, 1):  # few sizes, so that a little more or less memory gives the same plan
            working = needs(rows * row(twice))
            if beside_row + working <= free:
                working = max(working, needs(picture(tiling)))
                return MemoryPlan(len(networks), weights, working, free, rows, twice, turns, tiling)
    working = max(needs(row(True)), needs(picture(True)))
    return MemoryPlan(len(networks), weights, working, free, 1, True, not host, True, fits=False)


def worth_merging(device: torch.device, dtype: torch.dtype) -> bool:
    """Is an adapter better added to copies of the weights?

    On a CPU small factors take long, and terms come side by side; on a GPU memory is what is short. (float16 is for
    GPUs: whoever computes in it on a CPU wants to know what one would answer.)
    """
    return device.type == "cpu" and dtype != torch.float16


def free_memory(device: torch.device) -> int | None:
    """Bytes that could still be had on `device`, within the limit of a container; None where nobody counts them."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = [n for n in (_available(), _left_in_container()) if n is not None]
    return min(known, default=None)


def _available() -> int | None:
    lines = MEMORY.read_text().splitlines() if MEMORY.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _left_in_container() -> int | None:
    """What the control group leaves: its limit less what is in use, files that can be dropped not counted."""
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return None if limit == "max" else int(limit) - int(used) + int(stat["inactive_file"])
    except (OSError, ValueError, KeyError):  # no control group, or one of another kind: nothing is known
        return None


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
