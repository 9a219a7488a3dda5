"""A linear layer with Kronecker products beside rows of its weight: a LoKr of a layer that diffusers splits.

Rows a to b of a Kronecker product w1 (x) w2 are at most three Kronecker products: the rest of one block of w2's rows,
whole blocks, and the beginning of one more. None of them is multiplied out: for x, seen as a matrix of as many rows as
w1 has columns, (w1 (x) w2) x is w1 x w2'.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .own_layer import OwnLayer


@dataclass(frozen=True, eq=False)
class Block:
    """A Kronecker product that changes some rows of a weight.

    Attributes:
        start: the first row.
        first: the first factor, (out1, in1), which holds the scale.
        second: the second factor as a product of one or two matrices, (out2, rank) and (rank, in2).
    """

    start: int
    first: Tensor
    second: tuple[Tensor, ...]

    @property
    def rows(self) -> int:
        """How many rows it changes."""
        return self.first.shape[0] * self.second[0].shape[0]


def cut_rows(block: Block, start: int, end: int) -> Iterator[Block]:
    """The rows `start` to `end` of a product, as products; the first of them stands at `block.start`.

    Args:
        block: the product.
        start: its first row that counts.
        end: the row after the last.
    """
    size, at = block.second[0].shape[0], block.start
    while start < end:
        i, inner = divmod(start, size)
        if inner or end - start < size:
            stop = min(end, (i + 1) * size)
            rows = slice(i, i + 1), slice(inner, inner + stop - start)
        else:
            stop = start + (end - start) // size * size
            rows = slice(i, stop // size), slice(None)
        yield Block(at, block.first[rows[0]], (block.second[0][rows[1]], *block.second[1:]))
        at, start = at + stop - start, stop


class KroneckerLayer(OwnLayer):
    """A linear layer and Kronecker products that are added to rows of its outputs.

    Args:
        layer: the linear layer; its weights are shared, not copied.
        blocks: the products, of rows that do not overlap, from the first row on.
    """

    def __init__(self, layer: nn.Module, blocks: Sequence[Block]) -> None:
        super().__init__(layer)
        self.starts = [block.start for block in blocks]
        factors = [(block.first, *block.second) for block in blocks]
        self.factors = nn.ModuleList(
            nn.ParameterList(nn.Parameter(f.contiguous(), requires_grad=False) for f in each) for each in factors
        )

    def blocks(self) -> Iterator[Block]:
        """The products."""
        for start, factors in zip(self.starts, self.factors, strict=True):
            first, *second = factors.parameters()
            yield Block(start, first, tuple(second))

    def differences(self) -> tuple[Tensor, Tensor | None]:
        """The change of the weight, in float32."""
        return multiply_out(self.weight, list(self.blocks())), None

    def compute_change(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What the change adds to the output, in float32."""
        parts, at = [], 0
        for block in self.blocks():
            parts += [_zeros(x, block.start - at), _apply(block, x)]
            at = block.start + block.rows
        return torch.cat([*parts, _zeros(x, self.weight.shape[0] - at)], dim=-1)


def multiply_out(weight: Tensor, blocks: Sequence[Block]) -> Tensor:
    """The change of a whole weight, in float32."""
    change = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
    for block in blocks:
        second = reduce(torch.matmul, block.second)
        change[block.start : block.start + block.rows] += torch.kron(block.first.contiguous(), second.contiguous())
    return change


def _apply(block: Block, x: Tensor) -> Tensor:
    out = x.to(block.first.dtype).unflatten(-1, (block.first.shape[1], -1))
    for factor in reversed(block.second):
        out = linear(out, factor)
    return torch.einsum("oi,...ij->...oj", block.first, out).flatten(-2)


def _zeros(x: Tensor, rows: int) -> Tensor:
    return torch.zeros((*x.shape[:-1], rows), dtype=torch.float32, device=x.device)
