"""What families have in common: noise schedules, autoencoders, sizes."""

import math
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, AutoencoderKLQwenImage
from torch import Tensor, nn

from ...errors import UserError
from ...method.models import Prediction
from ...method.schedule import Schedule
from ..codec import FrameCodec, PatchCodec, VaeCodec

LARGEST_SIDE = 4096  # pixels; the largest published model was made for 2048
RESOLUTION = 1024  # pixels, where no configuration states it
PREDICTION_TYPES: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v"}


def text_encoders(pipeline: Any) -> list[nn.Module]:
    """The networks that encode the prompt; they are not needed afterwards."""
    parts = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
    return [part for part in parts if isinstance(part, nn.Module)]


def text_device(pipeline: Any) -> torch.device:
    """The text encoders' device; other parts of the pipeline may be elsewhere."""
    return next((w.device for part in text_encoders(pipeline) for w in part.parameters()), torch.device("cpu"))


def ddpm_schedule(pipeline: Any) -> tuple[Schedule, Prediction]:
    """The schedule of DDPM's noise, and what the network predicts, as the scheduler's configuration says.

    Raises:
        UserError: if the scheduler is of another kind of noise, or states an unknown prediction.
    """
    scheduler = pipeline.scheduler
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas, Tensor):  # EDM's, flow matching's and consistency models' have another noise
        raise UserError("families.scheduler_class", given=type(scheduler).__name__)
    kind = getattr(scheduler.config, "prediction_type", "epsilon")
    if not isinstance(kind, str) or kind not in PREDICTION_TYPES:
        raise UserError("families.prediction_type", given=f"{kind!s:.80}", accepted=list(PREDICTION_TYPES))
    return _checked(Schedule.ddpm(alphas)), PREDICTION_TYPES[kind]


def flow_schedule(pipeline: Any, tokens: int, exponent: float | None = None) -> Schedule:
    """The schedule of rectified flow: as many rows as the scheduler has timesteps, uniform before the model's shift.

    A scheduler with one shift states it. One whose shift grows with the picture is asked for that of the square that
    the network was made for. Trainers use that one for every size: 3.1582 in kohya's guide for FLUX.1 is exp(1.15).

    Args:
        pipeline: with a flow-matching scheduler.
        tokens: of the square picture.
        exponent: of a shift that grows with the picture, for so many tokens; None: as the scheduler states.

    Raises:
        UserError: if the scheduler is of another kind of noise.
    """
    scheduler = pipeline.scheduler
    sigmas = getattr(scheduler, "sigmas", None)
    if not isinstance(sigmas, Tensor) or "FlowMatch" not in type(scheduler).__name__:
        raise UserError("families.scheduler_class", given=type(scheduler).__name__)
    config = scheduler.config
    sigmas = sigmas[sigmas > 0].flip(0)
    if config.get("use_dynamic_shifting"):
        sigmas = scheduler.time_shift(_shift_for(config, tokens) if exponent is None else exponent, 1.0, sigmas)
    return _checked(Schedule.flow(sigmas, config.num_train_timesteps))


def _shift_for(config: Any, tokens: int) -> float:
    """The exponent of the shift for so many tokens: a straight line through two points (Esser et al. 2024)."""
    ends = (("base_image_seq_len", 256), ("max_image_seq_len", 4096), ("base_shift", 0.5), ("max_shift", 1.15))
    least, most, low, high = (float(config.get(name) or default) for name, default in ends)
    return low + (high - low) * (tokens - least) / (most - least) if most > least else high


def _checked(schedule: Schedule) -> Schedule:
    if not schedule.is_monotonic:
        raise UserError("families.schedule_values", rows=len(schedule))
    return schedule


def latent_codec(pipeline: Any) -> VaeCodec:
    """The autoencoder as a codec. Where its latents lie stands in its configuration alone, but for FLUX.2's.

    Raises:
        UserError: if the configuration states no sound numbers.
    """
    vae, config = pipeline.vae, pipeline.vae.config
    if isinstance(vae, AutoencoderKLFlux2):
        return PatchCodec(vae)
    if isinstance(vae, AutoencoderKLQwenImage):
        means, deviations, channels = config.latents_mean, config.latents_std, config.z_dim
        listed = all(isinstance(x, list | tuple) and len(x) == channels for x in (means, deviations))
        if not listed or not all(map(_is_sound, (*means, *deviations))) or min(deviations) <= 0:
            raise UserError("families.latent_scale", scale=f"{deviations!s:.40}", offset=f"{means!s:.40}")
        return FrameCodec(vae)
    scale, offset = config.scaling_factor, getattr(config, "shift_factor", None)
    if not _is_sound(scale) or not _is_sound(0.0 if offset is None else offset) or scale <= 0:
        raise UserError("families.latent_scale", scale=f"{scale!s:.40}", offset=f"{offset!s:.40}")
    return VaeCodec(vae)


def _is_sound(number: object) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def square_side(sample_size: Any, factor: int) -> int:
    """The side of the square that a network was made for, in pixels; diffusers notes one number, or height and width.

    Args:
        sample_size: the network's own setting, in what it denoises.
        factor: pixels for each of these.

    Raises:
        UserError: if it is no such number.
    """
    sides = list(sample_size) if isinstance(sample_size, list | tuple) else [sample_size]
    if len(sides) not in (1, 2) or not all(type(n) is int and 1 < n * factor <= LARGEST_SIDE for n in sides):
        raise UserError("families.sample_size", given=f"{sample_size!s:.80}", most=LARGEST_SIDE // factor)
    return min(sides) * factor


def picture_side(pipeline: Any) -> int:
    """The side of the square that a transformer was made for, in pixels, where its configuration does not say so.

    Published autoencoders of images state the side that they were trained for (1024); those of video state none.
    """
    if (cells := pipeline.transformer.config.get("sample_size")) is not None:
        return square_side(cells, pipeline.vae_scale_factor)
    return square_side(pipeline.vae.config.get("sample_size") or RESOLUTION, 1)
