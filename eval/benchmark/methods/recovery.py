"""CGI-DM itself: the recovery, under every score that it is given."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cgidm.errors import UserError
from cgidm.method.config import RunConfig, find_preset
from cgidm.method.partial import Partial, PartialKind, Start, make_partial
from cgidm.method.recovery import RecoveryStep, recover
from cgidm.method.scores import removed_alignment, removed_cosine, removed_gain
from eval.benchmark.methods.base import Answer, Case


@dataclass(frozen=True)
class CGIDM:
    """Recover the removed half (Alg. 1) and measure what came back.

    On the removed cells alone: `removed_cosine` (raw), `removed_gain`, `removed_alignment`. On the whole picture, as
    the paper does: the cosine of each embedder that is at hand, under its name. `..._group_max` is how the paper's
    public code scores: the best match of a picture with any recovery of its half; a recovery of *another* picture may
    then stand for this one.

    With several `steps`, one recovery runs to the most of them, and every score is taken after each: what a step does
    does not depend on how many follow, so each score is that of a run of so many steps.

    With `curve`, an answer also after 1, 2, 5, 10, 20, 50 ... steps, on the removed cells only.
    """

    visual: ClassVar[bool] = True
    name: str = "cgidm"
    preset: str = "paper"
    steps: int | tuple[int, ...] | None = None  # of here on: None leaves the preset's
    draws: int | None = None
    partial: PartialKind | None = None
    start: Start | None = None
    noise: str | None = None
    encoding: str | None = None
    curve: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.steps, tuple) and min(self.steps, default=0) < 1:
            raise UserError("method.not_positive", setting="steps", given=min(self.steps, default=0))

    @property
    def config(self) -> RunConfig:
        """The preset with this method's changes."""
        config = find_preset(self.preset)
        changes: dict[str, Any] = {k: v for k in ("draws", "noise") if (v := getattr(self, k)) is not None}
        if self.steps is not None:
            changes["steps"] = max(self.steps) if isinstance(self.steps, tuple) else self.steps
        recovery = replace(config.recovery, **changes)
        changes = {k: v for k in ("partial", "start", "encoding") if (v := getattr(self, k)) is not None}
        return replace(config, recovery=recovery, **changes)

    @property
    def evaluations(self) -> int:
        return self.config.recovery.evaluations()

    def name_runs(self, label: str) -> dict[int, str]:
        """Return the name of each of several runs, by its network evaluations; empty if there is only one."""
        if not isinstance(self.steps, tuple):
            return {}
        recovery = self.config.recovery
        return {replace(recovery, steps=n).evaluations(): f"{label}, {n} steps" for n in sorted(self.steps)}

    def __call__(self, case: Case) -> list[Answer]:
        config, codec = self.config, case.pair.codec
        z, partial = encode(case, config)
        # the purpose is not the method's own name, so that its variants share their draws
        steps = recover(case.pair, z, partial, config.recovery, generators=case.generators("recovery"))
        whole = self.steps if isinstance(self.steps, tuple) else (config.recovery.steps,)
        wanted = {*whole, *(curve_steps(config.recovery.steps) if self.curve else ())}
        answers, removed = [], 1 - partial.mask

        def measured(step: RecoveryStep) -> Iterator[tuple[str, Tensor]]:
            cells = F.normalize((removed * step.z).flatten(1)) @ F.normalize((removed * z).flatten(1)).T
            yield "removed_cosine", removed_cosine(step.z, z, partial)
            yield "removed_gain", removed_gain(step.z, z, partial)
            yield "removed_alignment", removed_alignment(step.z, z, partial)
            yield "removed_cosine_group_max", group_max(cells, case.groups)

        def seen(step: RecoveryStep) -> Iterator[tuple[str, Tensor]]:
            recovered = codec.decode(step.z) if case.embedders else step.z
            for name, embedder in case.embedders.items():
                pairwise = embedder(recovered) @ embedder(case.images).T
                yield name, pairwise.diagonal()
                yield f"{name}_group_max", group_max(pairwise, case.groups)

        for step in steps:
            if step.index + 1 in wanted:
                answers += [Answer(name, step.evaluations, scores) for name, scores in measured(step)]
            if step.index + 1 in whole:
                answers += [Answer(name, step.evaluations, scores) for name, scores in seen(step)]
        return answers


def encode(case: Case, config: RunConfig) -> tuple[Float[Tensor, "b c h w"], Partial]:
    """The latents and what is left of them; a sampled encoding is drawn from the experiment's seed.

    The public code draws it unseeded. A benchmark that cannot be repeated is of no use, and any seed is as good.
    """
    codec: Any = case.pair.codec
    if config.encoding == "mode" or not hasattr(codec, "encoding"):
        return case.z, make_partial(config.partial, codec, case.images, case.z, config.start)
    codec = replace(codec, encoding="sample")
    with torch.random.fork_rng():
        torch.manual_seed(case.seed)
        z = codec.encode(case.images)
        return z, make_partial(config.partial, codec, case.images, z, config.start)


def group_max(pairwise: Float[Tensor, "b b"], groups: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """For each original (column) the best of its group's recoveries (rows)."""
    other = groups[:, None] != groups[None, :]
    return pairwise.masked_fill(other.to(pairwise.device), -torch.inf).amax(0)


def curve_steps(steps: int) -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, ... and the last step."""
    decade = 1
    while decade < steps:
        yield from (s for s in (decade, 2 * decade, 5 * decade) if s < steps)
        decade *= 10
    yield steps
