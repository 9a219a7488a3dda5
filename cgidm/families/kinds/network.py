"""A network and the encoded prompt that it is conditioned on, whatever its family."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ...framing.frame import Frame
from ...method.models import Codec, Prediction
from ...method.schedule import Schedule

# Equal parts of the schedule, dealt out in turn. The mirror test draws one time in each of 12 (24 draws in mirrored
# pairs): a deal by the time alone would give three prompts 6, 5 and 1 of them. A finer deal leaves that to chance.
DEALT_PARTS = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionedNetwork:
    """A network and the encoded prompt that it is conditioned on.

    Attributes:
        network: the UNet or transformer.
        forward: `(network, x_t, timestep, *conditions of each row) -> raw prediction`.
        schedule: the noise schedule.
        prediction: what the network predicts.
        codec: between pictures and the network's latents.
        resolution: side of the square picture, in pixels.
        channels: of what the network denoises.
        downscale: pixels of a picture's side for each cell of what the network denoises.
        conditions: the encoded prompts: tensors of one row for each of `prompts`; of a network that computes two models
            at once, those of the first half of the rows before those of the second.
        sizes_at: which of the conditions says how a picture was framed; None: the network is not told.
        guidance_at: which of the conditions is the strength of guidance (FLUX.1 dev); None: the network has none.
        device: where the network computes.
        shared_owner: another network that holds all of its weights and is moved instead; None: the network itself.
        prompts: how many prompts are dealt out, each timestep to one of them.
    """

    network: nn.Module
    forward: Callable[..., Tensor]
    schedule: Schedule
    prediction: Prediction
    codec: Codec
    resolution: int
    channels: int
    downscale: int
    conditions: tuple[Tensor, ...] = ()
    sizes_at: int | None = None
    guidance_at: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shared_owner: nn.Module | None = None
    prompts: int = 1

    @property
    def weight_owner(self) -> nn.Module:
        """The network whose weights are counted and moved."""
        return self.network if self.shared_owner is None else self.shared_owner

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """Compute the raw prediction for `x` at timestep `t`.

        Which of several prompts a row is denoised under depends on its timestep alone (`DEALT_PARTS`). So base and
        suspect, a picture, its mirror image and its controls meet the same prompts, and each is met as often.
        """
        return self.forward(self.network, x, t, *(self._rows(c, t.expand(len(x))) for c in self.conditions))

    def _rows(self, condition: Tensor, t: Tensor) -> Tensor:
        """The condition of each row."""
        if self.prompts == 1:
            return _expand(condition, len(t))
        parts = len(condition) // self.prompts
        part = torch.arange(len(t), device=t.device) // (len(t) // parts)
        return condition[(part * self.prompts + self.deal_prompts(t)).to(condition.device)]

    def deal_prompts(self, t: Tensor) -> Tensor:
        """The index of the prompt that each timestep is denoised under: equal parts of the schedule take turns.

        Row 0 is never drawn, so that the parts are those of `sample_times`.
        """
        rows = torch.searchsorted(self.schedule.timesteps.to(t.device, t.dtype, non_blocking=True), t.contiguous())
        parts, drawn = max(DEALT_PARTS, self.prompts), len(self.schedule) - 1
        return ((rows - 1).clamp(0, drawn - 1) * parts // drawn) % self.prompts


def tell_frame(model: ConditionedNetwork, frame: Frame) -> ConditionedNetwork:
    """The same network, told of pictures with this frame."""
    if model.sizes_at is None:
        return model
    conditions, before = list(model.conditions), model.conditions[model.sizes_at]
    told = torch.tensor([frame.size_conditions], device=before.device, dtype=before.dtype)
    conditions[model.sizes_at] = told.expand(len(before), -1)
    return replace(model, conditions=tuple(conditions))


def tell_guidance(model: ConditionedNetwork, guidance: float) -> ConditionedNetwork:
    """The same network, told of this strength of guidance, which a guidance-distilled network takes as an input."""
    if model.guidance_at is None:
        return model
    conditions = list(model.conditions)
    conditions[model.guidance_at] = torch.full_like(conditions[model.guidance_at], guidance)
    return replace(model, conditions=tuple(conditions))


def join_prompts(models: Sequence[ConditionedNetwork]) -> ConditionedNetwork:
    """Make one network of those on one prompt each; see `ConditionedNetwork.predict`.

    Where encoded prompts have as many tokens as their prompt, shorter ones are filled up, and a last condition says
    which tokens are a prompt's own.
    """
    if len(models) == 1:
        return models[0]
    conditions, masks = [], []
    for parts in zip(*(model.conditions for model in models), strict=True):
        lengths = [part.shape[1] if part.ndim > 1 else 1 for part in parts]
        if len(set(lengths)) == 1:
            conditions.append(torch.cat(parts))
            continue
        longest = max(lengths)
        filled = [
            torch.cat([p, p.new_zeros(1, longest - n, *p.shape[2:])], 1) for p, n in zip(parts, lengths, strict=True)
        ]
        conditions.append(torch.cat(filled))
        masks.append(torch.arange(longest)[None] < torch.tensor(lengths)[:, None])
    assert len(masks) < 2, "one mask for all"
    conditions += [mask.to(conditions[0].device) for mask in masks]
    return replace(models[0], conditions=tuple(conditions), prompts=len(models))


def combine_conditions(base: ConditionedNetwork, suspect: ConditionedNetwork) -> tuple[Tensor, ...] | None:
    """The base's conditions for the first half of the rows, the suspect's for the second; None if shapes differ."""
    pairs = list(zip(base.conditions, suspect.conditions, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return None
    return tuple(torch.cat([a, b]) for a, b in pairs)


def _expand(condition: Tensor, rows: int) -> Tensor:
    """Expand to so many rows: one row for all without a copy, two rows for one half each."""
    if len(condition) == 1:
        return condition.expand(rows, *condition.shape[1:])
    return condition.repeat_interleave(rows // len(condition), dim=0)
