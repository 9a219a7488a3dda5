"""Choose how a pair is held on its device, by free memory."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

MOST_ROWS = 16  # per call: more are hardly faster on any machine that was measured
# Reserve for what the count misses: workspaces of kernels and fragmentation. On a CPU, SD 1.4 in float32 took up to
# 0.8 GB more than counted, and the embedded model three times the count.
RESERVE, HOST_RESERVE, TIMES = 500_000_000, 1_000_000_000, 4
AMPLE, AMPLE_TIMES = (
    4_000_000_000,
    40,
)  # above both (bytes; times the weights) memory is plentiful: skip counting
SLACK = 1.1  # factor on each count: allocators round blocks up
MEMORY, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """How a pair is held in memory.

    Fewer rows, checkpointing and offloading cost time and change results by rounding only.

    Attributes:
        networks: 1 if base and suspect share their weights, else 2.
        weights: bytes of the networks and the autoencoder.
        working: peak bytes besides the weights; 0: not counted, since memory is plentiful.
        free: bytes that were free before anything was loaded; None: unknown.
        rows_per_call: largest batch given to a network.
        checkpointing: activations are computed twice instead of stored.
        offloading: only the module in use is on the device; the others wait in host memory.
        tiling: the autoencoder works in tiles, which changes its pictures slightly.
        fits: False if even the smallest plan needs more than is free.
    """

    networks: int
    weights: int
    working: int
    free: int | None
    rows_per_call: int = MOST_ROWS
    checkpointing: bool = False
    offloading: bool = False
    tiling: bool = False
    fits: bool = True

    def __str__(self) -> str:
        """Describe the plan in one line for logs: "two networks, 3.6 GB of weights; 16 rows at once; ..."."""
        parts = [f"{'two networks' if self.networks == 2 else 'one network'}, {_gb(self.weights)} of weights"]
        parts.append(f"{self.rows_per_call} {'row' if self.rows_per_call == 1 else 'rows'} at once")
        if self.checkpointing:
            parts.append("activations computed twice")
        parts.append("weights offloaded to host memory" if self.offloading else "nothing offloaded")
        if self.tiling:
            parts.append("autoencoder in tiles")
        if self.free is not None:
            parts.append(f"{_gb(self.free)} free")
        if not self.fits:
            parts.append(f"memory may not suffice: {_gb(self.working)} needed besides the weights")
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
    """Choose the fastest plan that fits into `free` bytes.

    Args:
        free: free bytes on the device; None: unknown.
        networks: bytes of the weights of each network.
        codec: bytes of the autoencoder's weights.
        row: counts the peak bytes of one row's forward and backward pass, given whether checkpointing is on. Called
            only if needed.
        picture: counts those of one picture through the autoencoder, given whether tiling is on. Likewise.
        host: True if the device is the host's own memory, where offloading gains nothing.
    """
    weights = sum(networks) + codec
    if free is None or (host and free > AMPLE + AMPLE_TIMES * weights):
        return MemoryPlan(networks=len(networks), weights=weights, working=0, free=free)

    def needs(counted: int) -> int:
        return int(SLACK * counted) + min(TIMES * counted, HOST_RESERVE if host else RESERVE)

    # Checkpointing costs a third more arithmetic. Offloading transfers all weights per step. Tiling costs accuracy.
    for tiling, offloading, twice in itertools.product((False, True), repeat=3):
        if offloading and host:
            continue
        beside_row, beside_picture = (max(networks), codec) if offloading else (weights, weights)
        if beside_picture + needs(picture(tiling)) > free:
            continue
        for rows in (MOST_ROWS, 8, 4, 2, 1):  # few sizes: slightly different memory gives the same plan
            working = needs(rows * row(twice))
            if beside_row + working <= free:
                working = max(working, needs(picture(tiling)))
                return MemoryPlan(
                    networks=len(networks),
                    weights=weights,
                    working=working,
                    free=free,
                    rows_per_call=rows,
                    checkpointing=twice,
                    offloading=offloading,
                    tiling=tiling,
                )
    working = max(needs(row(True)), needs(picture(True)))
    return MemoryPlan(
        networks=len(networks),
        weights=weights,
        working=working,
        free=free,
        rows_per_call=1,
        checkpointing=True,
        offloading=not host,
        tiling=True,
        fits=False,
    )


def worth_merging(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether an adapter should be merged into copies of the weights.

    On a CPU, separate small factors are slow. On a GPU, memory is scarcer. float16 on a CPU emulates a GPU, so nothing
    is merged there.
    """
    return device.type == "cpu" and dtype != torch.float16


def free_memory(device: torch.device) -> int | None:
    """Measure the bytes that can still be allocated on `device`, within a container's limit; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = [n for n in (_available(), _left_in_container()) if n is not None]
    return min(known, default=None)


def _available() -> int | None:
    lines = MEMORY.read_text().splitlines() if MEMORY.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _left_in_container() -> int | None:
    """The control group's limit minus the memory in use, without cached files that can be dropped."""
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return None if limit == "max" else int(limit) - int(used) + int(stat["inactive_file"])
    except (OSError, ValueError, KeyError):  # no control group, or one of another kind
        return None


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
