"""What is measured of the pictures in question without a recovery, each thing once and when it is first asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from ..method.config import RunConfig
from ..method.models import ModelPair
from ..method.views import CENTRE_SQUARE
from ..pictures.embedders import SHIPPED_NAME, Embedders
from ..pictures.images import Picture
from .batches import for_each_batch, make_batches
from .distance import weight_distance
from .flags import Flag, flat_flags
from .negative_controls import (
    base_vs_itself_flags,
    generated_flags,
    other_framing_flags,
    other_shapes_flags,
    shifted_control_flags,
    unrelated_suspect_flags,
)
from .null_bank import Bank, bank_flags
from .residuals import not_in_bank_flags, residual_flags
from .scoring import measure_distance, score_controls, score_views


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Of the pictures of one run.

    Attributes:
        pair: base and suspect.
        pictures: the pictures in question.
        z: the latent of each.
        config: of the run.
        bank: null models in place of controls.
        unrelated: loads the unrelated suspect.
        embedders: one of them is for the classifier that sees no model.
    """

    pair: ModelPair
    pictures: Sequence[Picture]
    z: Sequence[Float[Tensor, "c _ _"]]
    config: RunConfig
    bank: Bank | None
    unrelated: Callable[[], ModelPair] | None
    embedders: Embedders

    @cached_property
    def distances(self) -> list[float]:
        """How far the suspect's predictions are from its base's, for each picture."""
        return measure_distance(self.pair, self.pictures, self.z, self.config)

    @cached_property
    def contrasts(self) -> tuple[Float[Tensor, " b"], list[str]]:
        """The score that is compared with controls, and the view that it comes from, of each picture."""
        largest = score_views(self.pair, self.pictures, self.config, self.z).max(0)
        return largest.values, [self.config.views[i] for i in map(int, largest.indices)]

    @cached_property
    def flags_of_run(self) -> list[tuple[Flag, ...]]:
        """What forbids every test: an unstable base, pictures of one colour, and those that the model has made."""
        first = make_batches(self.pair, self.pictures[:1])[0]
        unstable = base_vs_itself_flags(first.pair, self.z[0][None].to(self.pair.device), self.config.seed)
        generated = for_each_batch(self.pair, self.pictures, lambda batch: generated_flags(batch.pair, batch.images))
        flat = [flat_flags(p.image) for p in self.pictures]
        return [(*unstable, *empty, *found) for empty, found in zip(flat, generated, strict=True)]

    def flags(self, controls: Sequence[Picture]) -> list[tuple[Flag, ...]]:
        """What speaks against each picture's number, but for what its recovery shows.

        Args:
            controls: the control pictures that are used.
        """
        of_each: Sequence[tuple[Flag, ...]] = [()] * len(self.pictures)
        if self.unrelated is not None:
            other = self.unrelated()
            scores = (score_controls(other, part, self.config) for part in (self.pictures, controls))
            of_each = unrelated_suspect_flags(*scores)
        if self.bank is not None:
            known = {p.sha256: d for p, d in zip(self.pictures, self.distances, strict=True)}
            common = (
                *bank_flags(self.bank.content, known, weight_distance(self.pair)),
                *residual_flags(self.bank.content),
            )
            of_each = [
                (*not_in_bank_flags(self.bank.content, p.sha256), *other_framing_flags(self.pair, p))
                for p in self.pictures
            ]
        else:
            shown = [p.image for p in self.pictures], [c.image for c in controls]
            common = shifted_control_flags(*shown, self.embedders.ready.get(SHIPPED_NAME))
            if CENTRE_SQUARE in self.config.views:
                shapes = [other_shapes_flags(p, controls) for p in self.pictures]
                of_each = [(*own, *more) for own, more in zip(of_each, shapes, strict=True)]
        return [(*run, *own, *common) for run, own in zip(self.flags_of_run, of_each, strict=True)]
