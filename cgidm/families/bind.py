"""One function per family: a diffusers pipeline and a prompt -> a network with its conditioning bound.

To add a family: write its function and enter the pipeline's class name in `FAMILIES`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..method.models import Codec, IdentityCodec, Prediction
from ..method.schedule import Schedule
from .codec import VaeCodec


@dataclass(frozen=True, eq=False)
class Bound:
    """What a family's function returns."""

    network: nn.Module
    answer: Callable[..., Tensor]  # (x_t, timestep, *conditions of each row) -> raw prediction
    schedule: Schedule
    prediction: Prediction
    codec: Codec
    side: int  # pixels
    conditions: tuple[Tensor, ...] = ()  # what the prompt says: of one row for all, or of two for a half each
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))  # where it computes
    held_by: nn.Module | None = None  # another network that has all of its weights, and is moved instead

    @property
    def holder(self) -> nn.Module:
        """The network whose weights are counted and moved."""
        return self.network if self.held_by is None else self.held_by

    def call(self, x: Tensor, t: Tensor) -> Tensor:
        """(x_t, timestep) -> raw prediction."""
        return self.answer(x, t, *(_spread(c, len(x)) for c in self.conditions))


def join(first: Bound, second: Bound) -> Bound | None:
    """The second's network, under the first's conditions in the first half of its rows. None if they do not fit."""
    pairs = list(zip(first.conditions, second.conditions, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return None
    return replace(second, conditions=tuple(torch.cat([a, b]) for a, b in pairs))


def bind(pipeline: Any, prompt: str) -> Bound:
    """Bind `prompt` to the pipeline's network.

    Raises:
        UserError: for a pipeline class of no known family.
    """
    name = type(pipeline).__name__
    if name not in FAMILIES:
        raise UserError(f"a {name} was given; accepted: {', '.join(FAMILIES)}")
    with torch.no_grad():
        return FAMILIES[name](pipeline, prompt)


def _stable_diffusion(pipeline: Any, prompt: str) -> Bound:
    """SD 1.x (eps), SD 2.x (eps or v: the scheduler's configuration says which) and AltDiffusion."""
    text, _ = pipeline.encode_prompt(prompt, _reader(pipeline), 1, False)
    unet = pipeline.unet

    def answer(x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return unet(x, t, encoder_hidden_states=text).sample

    return Bound(unet, answer, *_ddpm(pipeline), VaeCodec(pipeline.vae), _latent_side(pipeline), (text,))


def _stable_diffusion_xl(pipeline: Any, prompt: str) -> Bound:
    """SDXL: two text encoders, and the picture's size and crop as conditions (its own full size, no crop)."""
    text, _, pooled, _ = pipeline.encode_prompt(prompt, device=_reader(pipeline), do_classifier_free_guidance=False)
    unet, side = pipeline.unet, _latent_side(pipeline)
    ids = torch.tensor([[side, side, 0, 0, side, side]], device=text.device, dtype=text.dtype)

    def answer(x: Tensor, t: Tensor, text: Tensor, pooled: Tensor) -> Tensor:
        added = {"text_embeds": pooled, "time_ids": ids.expand(len(x), -1)}
        return unet(x, t, encoder_hidden_states=text, added_cond_kwargs=added).sample

    if pipeline.vae.config.force_upcast:
        pipeline.vae.float()  # SDXL's own leaves the range of fp16; in bf16 it would round pictures to 8 bits
    return Bound(unet, answer, *_ddpm(pipeline), VaeCodec(pipeline.vae), side, (text, pooled))


def _pixel_ddpm(pipeline: Any, prompt: str) -> Bound:
    """DDPM on pixels (Ho et al. 2020; learnt variances of Nichol & Dhariwal 2021 are dropped). Takes no prompt."""
    unet = pipeline.unet
    return Bound(unet, lambda x, t: unet(x, t).sample, *_ddpm(pipeline), IdentityCodec(), unet.config.sample_size)


def _stable_diffusion_3(pipeline: Any, prompt: str) -> Bound:
    """SD3: rectified flow on a transformer (Esser et al. 2024)."""
    text, _, pooled, _ = pipeline.encode_prompt(
        prompt, prompt, prompt, device=_reader(pipeline), do_classifier_free_guidance=False
    )
    transformer, sigmas = pipeline.transformer, pipeline.scheduler.sigmas

    def answer(x: Tensor, t: Tensor, text: Tensor, pooled: Tensor) -> Tensor:
        return transformer(x, encoder_hidden_states=text, pooled_projections=pooled, timestep=t).sample

    schedule = Schedule.flow(sigmas[sigmas > 0].flip(0), pipeline.scheduler.config.num_train_timesteps)
    side = transformer.config.sample_size * pipeline.vae_scale_factor
    return Bound(transformer, answer, schedule, "flow", VaeCodec(pipeline.vae), side, (text, pooled))


FAMILIES: dict[str, Callable[[Any, str], Bound]] = {
    "StableDiffusionPipeline": _stable_diffusion,
    "AltDiffusionPipeline": _stable_diffusion,
    "StableDiffusionXLPipeline": _stable_diffusion_xl,
    "DDPMPipeline": _pixel_ddpm,
    "StableDiffusion3Pipeline": _stable_diffusion_3,
}


def _ddpm(pipeline: Any) -> tuple[Schedule, Prediction]:
    scheduler = pipeline.scheduler
    kind = getattr(scheduler.config, "prediction_type", "epsilon")
    if kind not in ("epsilon", "v_prediction"):
        raise UserError(f"prediction type {kind!r} was given; accepted: epsilon, v_prediction")
    return Schedule.ddpm(scheduler.alphas_cumprod), "eps" if kind == "epsilon" else "v"


def text_encoders(pipeline: Any) -> list[nn.Module]:
    """The networks that read the prompt; nothing needs them once it is bound."""
    parts = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
    return [part for part in parts if isinstance(part, nn.Module)]


def _spread(condition: Tensor, rows: int) -> Tensor:
    """To so many rows: one for all without a copy, two for a half each."""
    if len(condition) == 1:
        return condition.expand(rows, *condition.shape[1:])
    return condition.repeat_interleave(rows // len(condition), dim=0)


def _reader(pipeline: Any) -> torch.device:
    """Where the prompt is read: the other parts of the pipeline may lie elsewhere."""
    return next((w.device for part in text_encoders(pipeline) for w in part.parameters()), torch.device("cpu"))


def _latent_side(pipeline: Any) -> int:
    return pipeline.unet.config.sample_size * pipeline.vae_scale_factor
