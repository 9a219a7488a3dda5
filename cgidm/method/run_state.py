"""The state of a run that can be saved and continued: everything that its next step depends on."""

from collections.abc import Iterator
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
        z: the pictures' true latents.
        start: the latents that the recovery starts from.
        mask: 1 where a cell is kept, 0 where it is removed.
        delta: how far each removed cell has moved from the start.
        generators: the state of each picture's generator before the next step.
        contrast: the contrast of the n steps taken so far.
        gradient_ratio: the gradient ratio of those steps.
    """

    z: Float[Tensor, "b c h w"]
    start: Float[Tensor, "b c h w"]
    mask: Float[Tensor, "1 1 h w"]
    delta: Float[Tensor, "b c h w"]
    generators: UInt8[Tensor, "b k"]
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
    def partial(self) -> Partial:
        """What the recovery may know."""
        return Partial(self.mask, self.start)

    def save(self, path: Path) -> None:
        """Write atomically: an interrupted write leaves the previous file."""
        write_atomically(path, save({name: value.contiguous() for name, value in vars(self.on_cpu()).items()}))

    @classmethod
    def load(cls, path: Path) -> "RunState":
        """Read a file that `save` wrote.

        Raises:
            UserError: if the file is missing or damaged.
        """
        try:
            return cls(**load(path.read_bytes()))
        except (OSError, SafetensorError, TypeError) as error:
            raise UserError("method.damaged_state", name=path.name, cause=f"{error}") from error


def decode_recovery(pair: ModelPair, state: RunState) -> tuple[Float[Tensor, "b 3 H W"], Float[Tensor, "b 3 H W"]]:
    """Decode the start and the recovered pictures, wherever the recovery stands. They are on the CPU."""
    start, recovered = (pair.codec.decode(z.to(pair.device)).cpu() for z in (state.start, state.z_hat))
    return start, recovered


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
