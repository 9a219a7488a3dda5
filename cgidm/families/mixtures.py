"""Adapters that are on both sides of a contrast: their changes become part of the base's own weights.

Whoever uses a LoRA often uses others with it, and distilled models are trained through an adapter that their maker
merged beforehand. Base and suspect then both have the others, and the contrast says what the suspect alone adds.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from torch import nn

from ..errors import UserError
from ..intake.layout import Checkpoint, open_checkpoint
from ..messages import Note
from .adapters import adapted_layers, apply_adapter, check_family, merge
from .changes.methods import ADAPTED


def open_others(suspect: Checkpoint, given: Sequence[str | Checkpoint]) -> tuple[Checkpoint, ...]:
    """Open the adapters that base and suspect both have.

    Raises:
        UserError: if one is no adapter, is given twice, or is the suspect itself.
    """
    if not given:
        return ()
    others = tuple(open_checkpoint(g, "other adapter") if isinstance(g, str) else g for g in given)
    seen = [suspect.weights_sha256]
    for other in others:
        if other.kind != "adapter":
            raise UserError("families.other_is_no_adapter", name=other.name, given=other.kind)
        check_family(other)
        if other.weights_sha256 == seen[0]:
            raise UserError("families.other_is_the_suspect", name=other.name, suspect=suspect.name)
        if other.weights_sha256 in seen:
            raise UserError("families.other_twice", name=other.name)
        seen.append(other.weights_sha256)
    return others


def add_to_weights(pipeline: Any, others: Sequence[Checkpoint], unchanged: Collection[Any] = ()) -> tuple[Note, ...]:
    """Add the changes of adapters to the weights of a pipeline's networks, one after the other, in float32.

    The sum is rounded once for each adapter, to the networks' own precision. The files of the base are not written.

    Args:
        pipeline: whose networks are changed.
        others: the adapters, each with its scale.
        unchanged: networks that have the changes already, since two pipelines share them.

    Returns:
        What was assumed of their scales.

    Raises:
        UserError: if one cannot be loaded exactly, or does not fit.
    """
    notes: list[Note] = []
    for other in others:
        notes += apply_adapter(pipeline, other, unchanged=unchanged)
        for network in pipeline.components.values():
            if isinstance(network, nn.Module) and adapted_layers(network):
                _make_part_of_weights(network)
    return tuple(notes)


def _make_part_of_weights(network: nn.Module) -> None:
    """Merge every adapted layer of a network, whatever rounding loses, and put the plain layers back."""
    merge(network, np.inf)
    layers: list[tuple[str, Any]] = [(n, m) for n, m in network.named_modules() if isinstance(m, ADAPTED)]
    for name, layer in layers:
        below: Any = layer.get_base_layer()
        network.set_submodule(name, below)
    network.__dict__.pop("peft_config", None)
