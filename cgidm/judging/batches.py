"""Pictures that a network can take at once: those of one size, to models that were told the same of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..method.models import ModelPair
from ..pictures.images import Picture

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some pictures of a list.

    Attributes:
        pair: base and suspect, told how these pictures were framed where their family was trained with that.
        indices: where the pictures stand in the list.
        pictures: the pictures, all of one size.
    """

    pair: ModelPair
    indices: tuple[int, ...]
    pictures: tuple[Picture, ...]

    @property
    def images(self) -> Float[Tensor, "b 3 H W"]:
        """The pictures, on the device of the pair."""
        return torch.stack([p.image for p in self.pictures]).to(self.pair.device)


def make_batches(pair: ModelPair, pictures: Sequence[Picture]) -> list[Batch]:
    """Put pictures together that a network can take at once, in the order in which each kind first appears."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        told = None if pair.told_of is None else picture.frame
        groups.setdefault((tuple(picture.image.shape), told), []).append(i)
    return [_batch(pair, pictures, group) for group in groups.values()]


def in_order(batches: Sequence[Batch], found: Iterable[Sequence[T]]) -> list[T]:
    """Put what was found for each picture of each batch back into the order of the list."""
    by_index: dict[int, T] = {}
    for batch, each in zip(batches, found, strict=True):
        by_index.update(zip(batch.indices, each, strict=True))
    return [by_index[i] for i in sorted(by_index)]


def for_each_batch(pair: ModelPair, pictures: Sequence[Picture], measure: Callable[[Batch], Sequence[T]]) -> list[T]:
    """Measure pictures batch by batch; one result for each picture, in their order."""
    batches = make_batches(pair, pictures)
    return in_order(batches, [measure(batch) for batch in batches])


def _batch(pair: ModelPair, pictures: Sequence[Picture], group: Sequence[int]) -> Batch:
    members = tuple(pictures[i] for i in group)
    frame = members[0].frame
    told = pair if pair.told_of is None or frame is None else pair.told_of(frame)
    return Batch(told, tuple(group), members)
