"""A run that can be put down and taken up again: everything that its next step depends on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..errors import UserError
from .config import RecoveryConfig
from .models import ModelPair
from .partial import Partial
from .recovery import RecoveryStep, recover


@dataclass(eq=False)
class RunState:
    """Where the recovery of a batch stands; it changes as the run goes on."""

    z: Float[Tensor, "b c h w"]  # the pictures' true latents
    start: Float[Tensor, "b c h w"]
    mask: Float[Tensor, "1 1 h w"]  # 1 = kept
    delta: Float[Tensor, "b c h w"]
    generators: UInt8[Tensor, "b k"]  # of each picture: the state of its generator before the next step
    contrast: Float[Tensor, "n b"]  # of the n steps done
    gradient_ratio: Float[Tensor, "n b"]

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self.contrast)

    @property
    def z_hat(self) -> Float[Tensor, "b c h w"]:
        """The recovered latents so far."""
        return self.start + (1 - self.mask) * self.delta

    def on_cpu(self) -> "RunState":
        """A copy to keep, to send or to show, which later steps leave alone. On a GPU it waits for the last step."""
        return RunState(**{name: value.cpu() for name, value in vars(self).items()})

    @property
    def partial(self) -> Partial:
        """What the recovery is allowed to know."""
        return Partial(self.mask, self.start)

    def save(self, path: Path) -> None:
        """Write it whole, or leave what was there."""
        whole = path.with_suffix(".tmp")
        whole.write_bytes(save({name: value.contiguous() for name, value in vars(self.on_cpu()).items()}))
        whole.replace(path)

    @classmethod
    def load(cls, path: Path) -> "RunState":
        """Read what `save` wrote.

        Raises:
            UserError: if it is missing or damaged.
        """
        try:
            return cls(**load(path.read_bytes()))
        except (OSError, SafetensorError, TypeError) as error:
            raise UserError(f"{path.name} is no saved run ({error}); accepted: one that was not altered") from error


def new_state(z: Tensor, partial: Partial, generators: list[torch.Generator]) -> RunState:
    """The state before the first step."""
    nothing = torch.empty(0, len(z))
    states = torch.stack([g.get_state() for g in generators])
    return RunState(z, partial.start, partial.mask, torch.zeros_like(z), states, nothing, nothing.clone())


def continue_recovery(
    pair: ModelPair, state: RunState, config: RecoveryConfig, steps: int | None = None
) -> Iterator[RecoveryStep]:
    """Take up to `steps` more steps (None: all that are left), keeping `state` at the last one that was yielded.

    Closing the iterator leaves a state that can be taken up: the end is the same to the last bit, on one machine.
    """
    generators = [torch.Generator() for _ in state.generators]
    for generator, known in zip(generators, state.generators, strict=True):
        generator.set_state(known.clone())  # torch 2.14 crashes when it is given a view
    for name in ("z", "start", "mask", "delta", "contrast", "gradient_ratio"):
        setattr(state, name, getattr(state, name).to(pair.device))
    left = config.steps - state.steps if steps is None else min(steps, config.steps - state.steps)
    if left <= 0:
        return
    run = recover(pair, state.z, state.partial, config, generators=generators, delta=state.delta, first=state.steps)
    for _, step in zip(range(left), run, strict=False):
        state.delta = step.delta  # never changed in place: each step makes its own
        state.generators = torch.stack([g.get_state() for g in generators])
        state.contrast = torch.cat([state.contrast, step.contrast[None].float()])
        state.gradient_ratio = torch.cat([state.gradient_ratio, step.gradient_ratio[None].float()])
        yield step
