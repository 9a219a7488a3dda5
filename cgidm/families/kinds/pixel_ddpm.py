"""DDPM on pixels (Ho et al. 2020)."""

from typing import Any

from torch import Tensor

from ...method.models import IdentityCodec
from .network import ConditionedNetwork
from .parts import ddpm_schedule, square_side


def pixel_ddpm(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """A UNet without prompt; Nichol & Dhariwal's (2021) learnt variances are dropped."""

    def forward(unet: Any, x: Tensor, t: Tensor) -> Tensor:
        return unet(x, t).sample

    schedule, prediction = ddpm_schedule(pipeline)
    return ConditionedNetwork(
        network=pipeline.unet,
        forward=forward,
        schedule=schedule,
        prediction=prediction,
        codec=IdentityCodec(),
        resolution=square_side(pipeline.unet.config.sample_size, 1),
        channels=pipeline.unet.config.in_channels,
        downscale=1,
    )
