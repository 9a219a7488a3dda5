"""Monte Carlo samples of (t, eps): one generator per picture, so that a picture never depends on its batch.

The generators of a recovery differ between pictures. Those of a score that is compared with controls are alike: all
pictures meet the same noise, and a file that is saved anew does not draw another.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

TimeSampling = Literal["uniform", "stratified"]
ScoreNoise = Literal["shared", "own"]  # the same for all pictures under a suspect; from the seed and each file's bytes


def picture_generator(seed: int, picture_sha256: str, purpose: str) -> torch.Generator:
    """Make a CPU generator from the run's seed, the picture's SHA-256 and the purpose of the draws."""
    digest = hashlib.sha256(f"{seed}:{picture_sha256}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def shared_generators(count: int, models_sha256: str, purpose: str) -> list[torch.Generator]:
    """Make one CPU generator for each of `count` pictures, all with the same draws.

    They depend on the models' weights alone. So another file or seed is no second chance for who asks, and who trains
    a suspect cannot know the draws beforehand.
    """
    return [picture_generator(0, models_sha256, purpose) for _ in range(count)]


def sample_times(
    generators: Sequence[torch.Generator], draws: int, t_min: int, t_max: int, how: TimeSampling
) -> Int[Tensor, "b n"]:
    """Draw `draws` rows of the schedule in [t_min, t_max] for each picture.

    "uniform" draws independently (Alg. 1). "stratified" draws one row in each of `draws` equal parts of the range:
    the same mean with less variance.
    """
    width = t_max + 1 - t_min
    if how == "uniform":
        return torch.stack([torch.randint(t_min, t_max + 1, (draws,), generator=g) for g in generators])
    offsets = torch.stack([torch.rand(draws, generator=g, dtype=torch.float64) for g in generators])
    strata = (torch.arange(draws) + offsets) / draws
    return (t_min + (strata * width).floor().long()).clamp(max=t_max)


def sample_noise(
    generators: Sequence[torch.Generator], draws: int, like: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b n c h w"]:
    """Draw standard normal noise, on the CPU for every device, so that devices agree."""
    shape = (draws, *like.shape[1:])
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    noise = torch.stack([torch.randn(shape, generator=g, dtype=dtype) for g in generators])
    return send(noise.to(like.dtype), like.device)


def send(x: Tensor, device: torch.device) -> Tensor:
    """Copy `x` from the CPU to `device` without waiting: a GPU still computes the last step meanwhile."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
