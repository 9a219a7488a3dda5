"""The arms: identical pictures, each arm a function that takes one more step of Algorithm 1."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from cgidm.method.config import RecoveryConfig, find_preset
from cgidm.method.models import ModelPair
from cgidm.method.partial import Partial, block_mask
from cgidm.method.recovery import RecoveryStep
from cgidm.method.run_state import RunState, continue_recovery, new_state
from eval.speed.reference import TwoNetworks, recover_one

Recovery = Literal["reference", "paper", "fast"]
Arm = Literal[Recovery, "answer"]  # "answer" recovers nothing: `first_answer`
ARMS: tuple[Arm, ...] = (*get_args(Recovery), "answer")
ENDLESS = 1_000_000  # steps: how many are taken is the clock's affair


@dataclass(frozen=True, eq=False)
class Latents:
    """Pictures where the recovery meets them: random, since time does not depend on what they show."""

    z: Tensor
    partial: Partial


def draw_latents(shape: tuple[int, int, int], pictures: int, device: torch.device) -> Latents:
    """The same for every arm; picture i is the same however many there are."""
    each = [torch.randn(2, *shape, generator=torch.Generator().manual_seed(i)) for i in range(pictures)]
    z, rest = torch.stack(each).to(device).unbind(1)
    mask = block_mask(*shape[1:], 4).to(device)
    return Latents(z, Partial(mask, mask * z + (1 - mask) * rest))


def preset_of(arm: Recovery) -> RecoveryConfig:
    """What a user of this arm runs; the public code's 1000 steps for the reference."""
    return find_preset(arm).recovery


def timed_config(arm: Recovery, pictures: int, one_by_one: bool = False) -> RecoveryConfig:
    """The preset, in as large calls as there are pictures, so that every batch is one call of each network.

    `one_by_one`: each row is a call, and a step has one draw: more are more of the same calls.
    """
    preset = preset_of(arm)
    if one_by_one:
        return replace(preset, steps=ENDLESS, draws=1, rows_per_call=1)
    return replace(preset, steps=ENDLESS, rows_per_call=max(preset.rows_per_call, pictures))


def begin(latents: Latents) -> RunState:
    """A run before its first step."""
    generators = [torch.Generator().manual_seed(i) for i in range(len(latents.z))]
    return new_state(latents.z, latents.partial, generators)


@contextmanager
def stepping(
    pair: ModelPair, arm: Recovery, latents: Latents, one_by_one: bool = False
) -> Iterator[Callable[[], Tensor]]:
    """Ours, as the library's users run it: each call takes a step of all pictures."""
    run = continue_recovery(pair, begin(latents), timed_config(arm, len(latents.z), one_by_one))

    def step() -> Tensor:
        taken: RecoveryStep = next(run)
        return taken.z

    try:
        yield step
    finally:
        run.close()  # type: ignore[attr-defined]


@contextmanager
def stepping_reference(two: TwoNetworks, latents: Latents) -> Iterator[Callable[[], Tensor]]:
    """The public code's way: each call takes a step of the first picture."""
    run = recover_one(two, latents.z[:1], latents.partial.mask, latents.partial.start[:1])
    try:
        yield lambda: next(run)
    finally:
        run.close()  # type: ignore[attr-defined]
