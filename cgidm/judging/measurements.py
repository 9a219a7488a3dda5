"""What is measured of the pictures in question without a recovery, each thing once and when it is first asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from ..method.config import RunConfig
from ..method.models import ModelPair
from ..pictures.embedders import SHIPPED_NAME, Embedders
from ..pictures.images import Picture
from .banks.null_bank import Bank
from .batches import for_each_batch, make_batches
from .checks import base_flags, find_flags, flags_of_run
from .distance import weight_distance
from .flags import Flag, PictureChecks, RunChecks
from .negative_controls import measure_blind, measure_round_trips, score_base_vs_itself
from .scoring import measure_distance, score_controls, score_views

Flags = tuple[Flag, ...]


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
    def weight_distance(self) -> float | None:
        """How far a full network's weights are from its base's."""
        return weight_distance(self.pair)

    @cached_property
    def early_checks(self) -> tuple[RunChecks, list[PictureChecks]]:
        """What forbids every test: an unstable base, and pictures that the model itself has made."""
        first = make_batches(self.pair, self.pictures[:1])[0]
        base_vs_itself = score_base_vs_itself(first.pair, self.z[0][None].to(self.pair.device), self.config.seed)
        ratios = for_each_batch(self.pair, self.pictures, lambda b: measure_round_trips(b.pair, b.images))
        noted = None if self.pair.framing_is_guessed else self.pair.framing
        unused = self.pair.unused_tensors
        run = RunChecks(base_vs_itself=base_vs_itself, noted_framing=noted, unused_tensors=unused)
        return run, [PictureChecks(round_trip=ratio) for ratio in ratios]

    @property
    def flags_of_run(self) -> list[tuple[Flag, ...]]:
        """What forbids every test of each picture."""
        return flags_of_run(self.pictures, *self.early_checks)

    def checks(self, controls: Sequence[Picture]) -> tuple[RunChecks, list[PictureChecks]]:
        """Measure everything that the flags rest on, but for what the recoveries show.

        Args:
            controls: the control pictures that are used.
        """
        run, pictures = self.early_checks
        if self.unrelated is not None:
            other = self.unrelated()
            scores, of_controls = (score_controls(other, part, self.config) for part in (self.pictures, controls))
            run = replace(run, unrelated_control_scores=of_controls)
            pictures = [replace(p, unrelated_score=s) for p, s in zip(pictures, scores, strict=True)]
        if self.bank is None:
            images = [p.image for p in self.pictures], [c.image for c in controls]
            run = replace(run, blind_p_value=measure_blind(*images, self.embedders.ready.get(SHIPPED_NAME)))
        return run, pictures

    def flags(self, checks: tuple[RunChecks, Sequence[PictureChecks]], controls: Sequence[Picture]) -> list[Flags]:
        """What speaks against each picture's number, but for what its recovery shows.

        Args:
            checks: what was measured.
            controls: the control pictures that are used.
        """
        return find_flags(
            self.pictures,
            *checks,
            controls=controls,
            views=self.config.views,
            bank=self.bank,
            distances=self.distances,
            weight_distance=self.weight_distance,
            of_base=base_flags(self.pair.fingerprints, self.pair.base_files),
        )
