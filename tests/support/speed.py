"""Seconds of a quiet machine, measured on one that does a lot else."""

import time

SPIN = 0.2  # seconds of a processor


def slowdown() -> float:
    """How many times longer than its processor time a computation takes now: 1 on a machine that is free."""
    begun, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < SPIN:
        pass
    return max(1.0, (time.monotonic() - begun) / (time.thread_time() - used))
