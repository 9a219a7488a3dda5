"""Conditioning a pipeline's network on a prompt: one function per family of diffusers pipelines.

To add a family, write its function and enter the pipeline's class name in `FAMILIES`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..framing.frame import Frame
from ..method.models import Codec, IdentityCodec, Prediction
from ..method.schedule import Schedule
from .codec import VaeCodec

LARGEST_SIDE = 4096  # pixels; the largest published model was made for 2048
PREDICTION_TYPES: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v"}


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
        conditions: the encoded prompts: tensors of one row for each of `prompts`; of a network that computes two models
            at once, those of the first half of the rows before those of the second.
        sizes_at: which of the conditions says how a picture was framed; None: the network is not told.
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
    conditions: tuple[Tensor, ...] = ()
    sizes_at: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shared_owner: nn.Module | None = None
    prompts: int = 1

    @property
    def weight_owner(self) -> nn.Module:
        """The network whose weights are counted and moved."""
        return self.network if self.shared_owner is None else self.shared_owner

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """Compute the raw prediction for `x` at timestep `t`.

        Which of several prompts a row is denoised under depends on its timestep alone: t modulo their number. So base
        and suspect, a picture, its mirror image and its controls meet the same prompts, and each is met as often.
        """
        return self.forward(self.network, x, t, *(self._rows(c, t.expand(len(x))) for c in self.conditions))

    def _rows(self, condition: Tensor, t: Tensor) -> Tensor:
        """The condition of each row."""
        if self.prompts == 1:
            return _expand(condition, len(t))
        parts = len(condition) // self.prompts
        part = torch.arange(len(t), device=t.device) // (len(t) // parts)
        return condition[(part * self.prompts + t.long() % self.prompts).to(condition.device)]


def tell_frame(model: ConditionedNetwork, frame: Frame) -> ConditionedNetwork:
    """The same network, told of pictures with this frame."""
    if model.sizes_at is None:
        return model
    conditions, before = list(model.conditions), model.conditions[model.sizes_at]
    told = torch.tensor([frame.size_conditions], device=before.device, dtype=before.dtype)
    conditions[model.sizes_at] = told.expand(len(before), -1)
    return replace(model, conditions=tuple(conditions))


def combine_conditions(base: ConditionedNetwork, suspect: ConditionedNetwork) -> tuple[Tensor, ...] | None:
    """The base's conditions for the first half of the rows, the suspect's for the second; None if shapes differ."""
    pairs = list(zip(base.conditions, suspect.conditions, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return None
    return tuple(torch.cat([a, b]) for a, b in pairs)


def condition_on_prompts(pipeline: Any, prompts: Sequence[str]) -> ConditionedNetwork:
    """Encode each prompt and condition the pipeline's network on all of them; see `ConditionedNetwork.predict`.

    Args:
        pipeline: of a known family.
        prompts: one or more.

    Raises:
        UserError: if the pipeline's class belongs to no known family.
    """
    first, *others = (condition_on_prompt(pipeline, prompt) for prompt in prompts)
    if not others:
        return first
    conditions = zip(*(model.conditions for model in (first, *others)), strict=True)
    return replace(first, conditions=tuple(torch.cat(each) for each in conditions), prompts=len(prompts))


def condition_on_prompt(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """Encode `prompt` and condition the pipeline's network on it.

    Raises:
        UserError: if the pipeline's class belongs to no known family.
    """
    name = type(pipeline).__name__
    if name not in FAMILIES:
        raise UserError("families.unknown_pipeline", given=name, accepted=list(FAMILIES))
    with torch.no_grad():
        return FAMILIES[name](pipeline, prompt)


def _stable_diffusion(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """SD 1.x (eps), SD 2.x (eps or v, as the scheduler's configuration says) and AltDiffusion."""
    text, _ = pipeline.encode_prompt(prompt, _text_device(pipeline), 1, False)

    def forward(unet: Any, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return unet(x, t, encoder_hidden_states=text).sample

    return _latent_model(pipeline, forward, (text,))


def _stable_diffusion_xl(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """SDXL: two text encoders; size and crop of the picture are conditions, too (a whole square, until it is told)."""
    text, _, pooled, _ = pipeline.encode_prompt(
        prompt, device=_text_device(pipeline), do_classifier_free_guidance=False
    )
    side = _latent_resolution(pipeline)
    ids = torch.tensor([[side, side, 0, 0, side, side]], device=text.device, dtype=text.dtype)

    def forward(unet: Any, x: Tensor, t: Tensor, text: Tensor, pooled: Tensor, ids: Tensor) -> Tensor:
        added = {"text_embeds": pooled, "time_ids": ids}
        return unet(x, t, encoder_hidden_states=text, added_cond_kwargs=added).sample

    if pipeline.vae.config.force_upcast:
        pipeline.vae.float()  # SDXL's own leaves the range of fp16; in bf16 it would round pictures to 8 bits
    return replace(_latent_model(pipeline, forward, (text, pooled, ids)), sizes_at=2)


def _pixel_ddpm(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """DDPM on pixels (Ho et al. 2020), without prompt; Nichol & Dhariwal's (2021) learnt variances are dropped."""

    def forward(unet: Any, x: Tensor, t: Tensor) -> Tensor:
        return unet(x, t).sample

    schedule, prediction = _ddpm(pipeline)
    return ConditionedNetwork(
        network=pipeline.unet,
        forward=forward,
        schedule=schedule,
        prediction=prediction,
        codec=IdentityCodec(),
        resolution=_side(pipeline.unet.config.sample_size, 1),
    )


def _stable_diffusion_3(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """SD3: rectified flow on a transformer (Esser et al. 2024)."""
    text, _, pooled, _ = pipeline.encode_prompt(
        prompt, prompt, prompt, device=_text_device(pipeline), do_classifier_free_guidance=False
    )
    sigmas = getattr(pipeline.scheduler, "sigmas", None)
    if not isinstance(sigmas, Tensor) or "FlowMatch" not in type(pipeline.scheduler).__name__:
        raise UserError("families.scheduler_class", given=type(pipeline.scheduler).__name__)

    def forward(transformer: Any, x: Tensor, t: Tensor, text: Tensor, pooled: Tensor) -> Tensor:
        return transformer(x, encoder_hidden_states=text, pooled_projections=pooled, timestep=t).sample

    return ConditionedNetwork(
        network=pipeline.transformer,
        forward=forward,
        schedule=_checked(Schedule.flow(sigmas[sigmas > 0].flip(0), pipeline.scheduler.config.num_train_timesteps)),
        prediction="flow",
        codec=_codec(pipeline),
        resolution=_side(pipeline.transformer.config.sample_size, pipeline.vae_scale_factor),
        conditions=(text, pooled),
    )


FAMILIES: dict[str, Callable[[Any, str], ConditionedNetwork]] = {
    "StableDiffusionPipeline": _stable_diffusion,
    "AltDiffusionPipeline": _stable_diffusion,
    "StableDiffusionXLPipeline": _stable_diffusion_xl,
    "DDPMPipeline": _pixel_ddpm,
    "StableDiffusion3Pipeline": _stable_diffusion_3,
}


def text_encoders(pipeline: Any) -> list[nn.Module]:
    """The networks that encode the prompt; they are not needed afterwards."""
    parts = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
    return [part for part in parts if isinstance(part, nn.Module)]


def _latent_model(pipeline: Any, forward: Callable[..., Tensor], conditions: tuple[Tensor, ...]) -> ConditionedNetwork:
    schedule, prediction = _ddpm(pipeline)
    return ConditionedNetwork(
        network=pipeline.unet,
        forward=forward,
        schedule=schedule,
        prediction=prediction,
        codec=_codec(pipeline),
        resolution=_latent_resolution(pipeline),
        conditions=conditions,
    )


def _ddpm(pipeline: Any) -> tuple[Schedule, Prediction]:
    scheduler = pipeline.scheduler
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas, Tensor):  # EDM's, flow matching's and consistency models' have another noise
        raise UserError("families.scheduler_class", given=type(scheduler).__name__)
    kind = getattr(scheduler.config, "prediction_type", "epsilon")
    if not isinstance(kind, str) or kind not in PREDICTION_TYPES:
        raise UserError("families.prediction_type", given=f"{kind!s:.80}", accepted=list(PREDICTION_TYPES))
    return _checked(Schedule.ddpm(alphas)), PREDICTION_TYPES[kind]


def _checked(schedule: Schedule) -> Schedule:
    if not schedule.is_monotonic:
        raise UserError("families.schedule_values", rows=len(schedule))
    return schedule


def _codec(pipeline: Any) -> VaeCodec:
    """The autoencoder as a codec. Its two numbers stand in its configuration alone: no tensor tells them."""
    config = pipeline.vae.config
    scale, offset = config.scaling_factor, getattr(config, "shift_factor", None)
    sound = [isinstance(x, int | float) and math.isfinite(x) for x in (scale, 0.0 if offset is None else offset)]
    if not all(sound) or scale <= 0:
        raise UserError("families.latent_scale", scale=f"{scale!s:.40}", offset=f"{offset!s:.40}")
    return VaeCodec(pipeline.vae)


def _expand(condition: Tensor, rows: int) -> Tensor:
    """Expand to so many rows: one row for all without a copy, two rows for one half each."""
    if len(condition) == 1:
        return condition.expand(rows, *condition.shape[1:])
    return condition.repeat_interleave(rows // len(condition), dim=0)


def _text_device(pipeline: Any) -> torch.device:
    """The text encoders' device; other parts of the pipeline may be elsewhere."""
    return next((w.device for part in text_encoders(pipeline) for w in part.parameters()), torch.device("cpu"))


def _latent_resolution(pipeline: Any) -> int:
    return _side(pipeline.unet.config.sample_size, pipeline.vae_scale_factor)


def _side(sample_size: Any, factor: int) -> int:
    """The side of the square that a network was made for, in pixels; diffusers notes one number, or height and width.

    Args:
        sample_size: the network's own setting, in what it denoises.
        factor: pixels for each of these.
    """
    sides = list(sample_size) if isinstance(sample_size, list | tuple) else [sample_size]
    if len(sides) not in (1, 2) or not all(type(n) is int and 1 < n * factor <= LARGEST_SIDE for n in sides):
        raise UserError("families.sample_size", given=f"{sample_size!s:.80}", most=LARGEST_SIDE // factor)
    return min(sides) * factor
