"""Monte Carlo samples of (t, eps): one generator per picture, so that a picture never depends on its batch."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

TimeSampling = Literal["uniform", "stratified"]


def picture_generator(seed: int, picture_sha256: str, purpose: str) -> torch.Generator:
    """A CPU generator that depends on the run's seed, the picture's bytes and what it is used for."""
    digest = hashlib.sha256(f"{seed}:{picture_sha256}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def sample_times(
    generators: Sequence[torch.Generator], draws: int, t_min: int, t_max: int, how: TimeSampling
) -> Int[Tensor, "b n"]:
    """`draws` rows of the schedule in [t_min, t_max] for each picture.

    "uniform" draws them independently (Alg. 1). "stratified" cuts the range into `draws` equal parts and draws one
    row in each: the same mean, less variance.
    """
    width = t_max + 1 - t_min
    if how == "uniform":
        return torch.stack([torch.randint(t_min, t_max + 1, (draws,), generator=g) for g in generators])
    places = torch.stack([torch.rand(draws, generator=g, dtype=torch.float64) for g in generators])
    strata = (torch.arange(draws) + places) / draws
    return (t_min + (strata * width).floor().long()).clamp(max=t_max)


def sample_noise(
    generators: Sequence[torch.Generator], draws: int, like: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b n c h w"]:
    """Standard normal noise, drawn on the CPU whatever the device, so that devices agree."""
    shape = (draws, *like.shape[1:])
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    noise = torch.stack([torch.randn(shape, generator=g, dtype=dtype) for g in generators])
    return send(noise.to(like.dtype), like.device)


def send(x: Tensor, device: torch.device) -> Tensor:
    """`x`, from the CPU, on `device`, without waiting: a GPU computes the last step while the next is being drawn."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
