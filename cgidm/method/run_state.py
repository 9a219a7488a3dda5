"""The state of a run that can be saved and continued: everything that its next step depends on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..errors import UserError
from ..files import write_atomically
from .config import RecoveryConfig
from .models import ModelPair
from .partial import Partial
from .recovery import RecoveryStep, recover


@dataclass(eq=False, kw_only=True)
class RunState:
    """The state of a batch's recovery, updated after each step.

    Attributes:
        z: the pictures' true latents; where mirror images are recovered, too, theirs after those of all pictures.
        start: the latents that the recovery starts from.
        mask: 1 where a cell is kept, 0 where it is removed.
        delta: how far each removed cell has moved from the start.
        generators: the state of each picture's generator before the next step; its mirror image shares it.
        contrast: the contrast of the n steps taken so far.
        gradient_ratio: the gradient ratio of those steps.
    """

    z: Float[Tensor, "b c h w"]
    start: Float[Tensor, "b c h w"]
    mask: Float[Tensor, "m 1 h w"]
    delta: Float[Tensor, "b c h w"]
    generators: UInt8[Tensor, "p k"]
    contrast: Float[Tensor, "n b"]
    gradient_ratio: Float[Tensor, "n b"]

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return len(self.contrast)

    @property
    def z_hat(self) -> Float[Tensor, "b c h w"]:
        """The recovered latents so far."""
        return self.start + (1 - self.mask) * self.delta

    def on_cpu(self) -> "RunState":
        """Copy to the CPU; later steps do not change the copy. On a GPU this waits for the last step."""
        return RunState(**{name: value.cpu() for name, value in vars(self).items()})

    @property
    def pictures(self) -> "RunState":
        """The part that is about the pictures themselves."""
        return self._rows(slice(0, len(self.generators)))

    @property
    def mirrored(self) -> "RunState | None":
        """The part that is about their mirror images, if these are recovered."""
        first = len(self.generators)
        return self._rows(slice(first, None)) if len(self.z) > first else None

    def _rows(self, rows: slice) -> "RunState":
        mask = self.mask if len(self.mask) == 1 else self.mask[rows]
        steps = {name: getattr(self, name)[:, rows] for name in ("contrast", "gradient_ratio")}
        latents = {name: getattr(self, name)[rows] for name in ("z", "start", "delta")}
        return RunState(mask=mask, generators=self.generators, **latents, **steps)

    @property
    def partial(self) -> Partial:
        """What the recovery may know."""
        return Partial(self.mask, self.start)


def save_states(path: Path, states: Sequence[RunState]) -> None:
    """Write the states of one run's batches to a file, atomically: an interrupted write leaves the previous file."""
    tensors = {f"{i}.{name}": x.clone() for i, s in enumerate(states) for name, x in vars(s.on_cpu()).items()}
    write_atomically(path, save(tensors))


def load_states(path: Path) -> tuple[RunState, ...]:
    """Read what `save_states` wrote.

    Raises:
        UserError: if the file is missing or damaged.
    """
    try:
        tensors = load(path.read_bytes())
        numbers = sorted({int(key.split(".")[0]) for key in tensors})
        split = [{k.split(".")[1]: x for k, x in tensors.items() if k.startswith(f"{i}.")} for i in numbers]
        return tuple(RunState(**parts) for parts in split)
    except (OSError, SafetensorError, TypeError, ValueError, IndexError) as error:
        raise UserError("method.damaged_state", name=path.name, cause=f"{error}") from error


@dataclass(frozen=True, eq=False, kw_only=True)
class DecodedRecovery:
    """What a recovery shows, wherever it stands: pictures in [0, 1], on the CPU."""

    start: Float[Tensor, "b 3 H W"]
    recovered: Float[Tensor, "b 3 H W"]
    mirrored: Float[Tensor, "b 3 H W"] | None  # recovered from the mirror images, and mirrored back


def decode_recovery(pair: ModelPair, state: RunState) -> DecodedRecovery:
    """Decode what a recovery shows."""

    def decode(z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        return pair.codec.decode(z.to(pair.device)).cpu()

    own, mirrored = state.pictures, state.mirrored
    return DecodedRecovery(
        start=decode(own.start),
        recovered=decode(own.z_hat),
        mirrored=None if mirrored is None else decode(mirrored.z_hat).flip(-1),
    )


def new_state(z: Tensor, partial: Partial, generators: list[torch.Generator]) -> RunState:
    """Make the state before the first step."""
    nothing = torch.empty(0, len(z))
    states = torch.stack([g.get_state() for g in generators])
    return RunState(
        z=z,
        start=partial.start,
        mask=partial.mask,
        delta=torch.zeros_like(z),
        generators=states,
        contrast=nothing,
        gradient_ratio=nothing.clone(),
    )


def continue_recovery(
    pair: ModelPair, state: RunState, config: RecoveryConfig, steps: int | None = None
) -> Iterator[RecoveryStep]:
    """Take more steps and update `state` after each.

    Closing the iterator leaves a state that can be continued. On one machine the final result is equal to the last bit.

    Args:
        pair: the two models.
        state: the run, updated in place.
        config: the settings of the run.
        steps: most steps to take; None: all that remain.
    """
    generators = [torch.Generator() for _ in state.generators]
    for generator, known in zip(generators, state.generators, strict=True):
        generator.set_state(known.clone())  # torch 2.14 crashes on a view
    for name in ("z", "start", "mask", "delta", "contrast", "gradient_ratio"):
        setattr(state, name, getattr(state, name).to(pair.device))
    left = config.steps - state.steps if steps is None else min(steps, config.steps - state.steps)
    if left <= 0:
        return
    run = recover(pair, state.z, state.partial, config, generators=generators, delta=state.delta, first=state.steps)
    for _, step in zip(range(left), run, strict=False):
        state.delta = step.delta  # each step makes a new tensor
        state.generators = torch.stack([g.get_state() for g in generators])
        state.contrast = torch.cat([state.contrast, step.contrast[None].float()])
        state.gradient_ratio = torch.cat([state.gradient_ratio, step.gradient_ratio[None].float()])
        yield step
