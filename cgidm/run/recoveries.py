"""The recoveries of a run's pictures, which may have several sizes: one batch for each, all at the same step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..judging.batches import Batch, in_order, make_batches
from ..judging.scoring import picture_generators, score_recovery
from ..method.config import RunConfig
from ..method.models import ModelPair
from ..method.partial import Partial, make_partial
from ..method.run_state import RunState, continue_recovery, decode_recovery, new_state
from ..pictures.embedders import Embedders
from ..pictures.images import Picture
from .events import STATE


@dataclass(frozen=True, eq=False, kw_only=True)
class RecoveredPicture:
    """What the recovery of one picture shows, wherever it stands: pictures in [0, 1], on the CPU."""

    start: Float[Tensor, "3 H W"]
    recovered: Float[Tensor, "3 H W"]
    mirrored: Float[Tensor, "3 H W"] | None  # recovered from the mirror image, and mirrored back


class Recoveries:
    """The recoveries of some pictures. What is told of each picture is in the order in which they were given."""

    def __init__(
        self, pair: ModelPair, pictures: Sequence[Picture], config: RunConfig, states: Sequence[RunState] = ()
    ) -> None:
        """Begin, or go on from `states`, which an earlier sitting put down.

        Raises:
            UserError: if the states are not about these pictures.
        """
        self.batches = make_batches(pair, pictures)
        self.states = list(states) or [start_recovery(b, config) for b in self.batches]
        alike = len({state.steps for state in self.states}) == 1
        if (
            not alike
            or len(self.states) != len(self.batches)
            or not all(_fits(state, batch, config) for state, batch in zip(self.states, self.batches, strict=True))
        ):
            raise UserError("run.damaged_progress", file=STATE, problem="it is not about the same pictures")

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return min(state.steps for state in self.states)

    @property
    def latents(self) -> list[Float[Tensor, "c _ _"]]:
        """The latent of each picture."""
        return in_order(self.batches, [state.pictures.z.unbind() for state in self.states])

    @property
    def contrast(self) -> list[Float[Tensor, " n"]]:
        """The contrast of each picture at the steps taken, on the CPU."""
        return in_order(self.batches, [state.pictures.contrast.cpu().T.unbind() for state in self.states])

    @property
    def gradient_ratio(self) -> list[Float[Tensor, " n"]]:
        """The gradient ratio of each picture at the steps taken, on the CPU."""
        return in_order(self.batches, [state.pictures.gradient_ratio.cpu().T.unbind() for state in self.states])

    def on_cpu(self) -> tuple[RunState, ...]:
        """Copy the states to the CPU; later steps do not change the copies."""
        return tuple(state.on_cpu() for state in self.states)

    def advance(self, config: RunConfig, steps: int | None) -> Iterator[tuple[float, ...]]:
        """Take more steps, all batches one after the other; yield the contrast of each picture after each.

        Args:
            config: of the run.
            steps: most steps to take; None: all that remain.
        """
        both = zip(self.batches, self.states, strict=True)
        runs = [continue_recovery(batch.pair, state, config.recovery, steps) for batch, state in both]
        for each in zip(*runs, strict=True):  # contrasts of mirror images follow those of all pictures of a batch
            found = [s.contrast[: len(b.indices)].tolist() for s, b in zip(each, self.batches, strict=True)]
            yield tuple(in_order(self.batches, found))

    def decoded(self) -> list[RecoveredPicture]:
        """What the recoveries show."""
        found: list[list[RecoveredPicture]] = []
        for batch, state in zip(self.batches, self.states, strict=True):
            decoded = decode_recovery(batch.pair, state)
            mirrored = [None] * len(decoded.start) if decoded.mirrored is None else decoded.mirrored.unbind()
            rows = zip(decoded.start, decoded.recovered, mirrored, strict=True)
            found.append([RecoveredPicture(start=s, recovered=r, mirrored=m) for s, r, m in rows])
        return in_order(self.batches, found)

    def scores(self, embedders: Embedders) -> list[dict[str, float]]:
        """What is scored of each recovery; no verdict rests on it."""
        found: list[list[dict[str, float]]] = []
        for batch, state in zip(self.batches, self.states, strict=True):
            table = score_recovery(batch.images, state, decode_recovery(batch.pair, state), embedders)
            found.append([{name: x[i].item() for name, x in table.items()} for i in range(len(batch.indices))])
        return in_order(self.batches, found)


def start_recovery(batch: Batch, config: RunConfig) -> RunState:
    """The state of a batch's recovery before its first step; `continue_recovery` takes the steps.

    With `config.mirrored_recovery` the mirror images follow the pictures. Of both the same cells are removed.
    """
    images = batch.images
    z, partial = _remove_half(batch.pair, images, config)
    if config.mirrored_recovery:
        z_mirrored, other = _remove_half(batch.pair, images.flip(-1), config, mirrored=True)
        masks = [p.mask.expand(len(z), -1, -1, -1) for p in (partial, other)]
        z, partial = torch.cat([z, z_mirrored]), Partial(torch.cat(masks), torch.cat([partial.start, other.start]))
    return new_state(z, partial, picture_generators(batch.pictures, config, "recovery"))


def _remove_half(
    pair: ModelPair, images: Float[Tensor, "b 3 H W"], config: RunConfig, *, mirrored: bool = False
) -> tuple[Float[Tensor, "b c h w"], Partial]:
    z = pair.codec.encode(images)
    return z, make_partial(config.partial, pair.codec, images, z, config.start, mirrored=mirrored)


def _fits(state: RunState, batch: Batch, config: RunConfig) -> bool:
    """Whether a state can be about these pictures."""
    rows = len(batch.indices)
    if len(state.generators) != rows or len(state.z) != rows * (2 if config.mirrored_recovery else 1):
        return False
    (height, width), (high, wide) = batch.pictures[0].image.shape[-2:], state.z.shape[-2:]
    return height * wide == width * high
