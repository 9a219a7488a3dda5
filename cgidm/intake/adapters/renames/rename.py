"""A row of a table of names: a module of a family's own code or of a trainer, and where diffusers has its outputs.

One linear layer of the family's own code may be several in diffusers, whose outputs stand one after another in it
(`img_attn.qkv`), or a part of one (`attn.to_q` in FLUX.2's `attn.to_qkv_mlp_proj`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Rename:
    """A module as files name it, and the modules of diffusers' class that it is.

    Attributes:
        theirs: the name in files; "{}" stands for the number of a block.
        ours: the modules in diffusers, in the order in which their outputs stand in `theirs`.
        rows: where the outputs of `theirs` stand in the one module of `ours`, in units of its inputs; the end may be
            None, for the last output. None: everywhere.
        swapped: whether `theirs` writes shift before scale, if `ours` has these two alone: diffusers'
            `AdaLayerNormContinuous` writes scale before shift.
    """

    theirs: str
    ours: tuple[str, ...]
    rows: tuple[int, int | None] | None = None
    swapped: bool = False

    def inside(self, theirs: str, ours: str) -> "Rename":
        """The same row for a module inside of others, which have these names."""
        return replace(self, theirs=f"{theirs}.{self.theirs}", ours=tuple(f"{ours}.{name}" for name in self.ours))


def rename(names: Mapping[str, str | tuple[str, ...]]) -> tuple[Rename, ...]:
    """Rows of a table from their names to ours."""
    return tuple(Rename(theirs, (ours,) if isinstance(ours, str) else ours) for theirs, ours in names.items())


def inside(theirs: str, ours: str, rows: Iterable[Rename]) -> tuple[Rename, ...]:
    """The rows of a block, for the modules inside of it."""
    return tuple(row.inside(theirs, ours) for row in rows)


TO_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
ADDED_QKV = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
# `fuse_qkv_projections` of diffusers; OneTrainer
FUSED_QKV = rename(dict.fromkeys(("attn.to_qkv", "attn.qkv"), TO_QKV))
FUSED = (*FUSED_QKV, *rename(dict.fromkeys(("attn.to_added_qkv", "attn.added_qkv"), ADDED_QKV)))
