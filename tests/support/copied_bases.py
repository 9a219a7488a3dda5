"""Bases that are read from disk once, and copied for whoever loads them again: a sound base takes its time."""

from copy import deepcopy
from typing import Any

import torch

from cgidm.families.pipelines import load_pipeline
from cgidm.intake.layout import Checkpoint

READ: dict[str, Any] = {}  # pipelines, by the names of their checkpoints


def copy_base(checkpoint: Checkpoint, role: str, dtype: torch.dtype) -> Any:
    """A copy of a base that was read once: its last bits may differ, a refusal does not."""
    assert role == "base" and dtype == torch.float32
    if checkpoint.name not in READ:
        READ[checkpoint.name] = load_pipeline(checkpoint, role, dtype)
    return deepcopy(READ[checkpoint.name])
