"""What a large model takes on a CPU, counted before any of its weights is drawn.

A GPU refuses what does not fit. A CPU's system ends the process instead.
"""

from dataclasses import dataclass

import torch

from cgidm.families.conditioning import ConditionedNetwork
from cgidm.families.memory import count_peak, row_bytes, set_checkpointing, weight_bytes
from cgidm.method.memory_plan import HOST_RESERVE, SLACK
from eval.speed.work import flop_counter


@dataclass(frozen=True)
class Shapes:
    """A model without numbers.

    Attributes:
        network: on the CPU, with weights that are allocated and never written.
        adapted: bytes of the weights that the LoRA changes.
        encoders: bytes of the text encoders' weights.
        codec: bytes of the autoencoder's weights.
    """

    network: ConditionedNetwork
    adapted: int
    encoders: int
    codec: int


@dataclass(frozen=True)
class Needs:
    """Bytes, and the arithmetic of an evaluation.

    Attributes:
        full: weights of base and a suspect of its own weights.
        lora: weights of base and an adapter that is merged into copies.
        reference: all that the public code's way holds: two whole models, the gradients of what wants one, and both
            graphs; None: not asked for.
        row: activations of one row, kept for the gradient.
        row_again: activations of one row, computed twice.
        flops: of one network's forward pass and input gradient of one row.
    """

    full: int
    lora: int
    reference: int | None
    row: int
    row_again: int
    flops: int


def count_needs(shapes: Shapes, dtype: torch.dtype, reference: Shapes | None = None) -> Needs:
    """Count on tensors without numbers; takes some seconds.

    Args:
        shapes: of the model.
        dtype: of its weights.
        reference: its shapes as the public code has them; None: that is not asked for.
    """
    own = weight_bytes(shapes.network.network)
    beside = shapes.encoders + shapes.codec
    return Needs(
        full=2 * own + beside,
        lora=own + shapes.adapted + beside,
        reference=None if reference is None else _count_reference(reference),
        row=row_bytes(shapes.network, dtype, checkpointing=False),
        row_again=row_bytes(shapes.network, dtype, checkpointing=True),
        flops=_count_flops(shapes.network, dtype),
    )


def _count_reference(shapes: Shapes) -> int:
    """Weights, gradients and graphs, those of the text encoders' graphs left out."""
    model = shapes.network
    network = model.network.requires_grad_(True)
    kept = count_peak(lambda: _evaluate(model, torch.float32))  # not `row_bytes`: it knows no weights in training
    return 4 * (weight_bytes(network) + shapes.encoders) + 2 * shapes.codec + 2 * kept


def fits(weights: int, activations: int, free: int | None) -> bool:
    """Whether they go into `free` bytes, with the library's own reserve for what no count sees."""
    return free is None or weights + int(SLACK * activations) + HOST_RESERVE <= free


def _count_flops(model: ConditionedNetwork, dtype: torch.dtype) -> int:
    """Of one row. A pass of its own: the counter holds on to activations, which would be counted as memory."""
    set_checkpointing(model.network, False)
    counter = flop_counter()

    def evaluate() -> None:
        with counter:
            _evaluate(model, dtype)

    count_peak(evaluate)
    return counter.get_total_flops()


def _evaluate(model: ConditionedNetwork, dtype: torch.dtype) -> None:
    cells = model.resolution // model.downscale
    x = torch.zeros(1, model.channels, cells, cells).requires_grad_()
    # `mul`: a counter watches what enters a module, and cannot where that is the leaf itself
    loss = model.predict(x.mul(1).to(dtype), torch.zeros(1)).float().square().sum()
    torch.autograd.grad(loss, x)
