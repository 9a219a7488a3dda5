"""What a base makes of the class prompt: pictures for DreamBooth's prior preservation (Ruiz et al. 2023)."""

from itertools import pairwise

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Tensor

from .trainee import Trainee

STEPS = 50  # of the sampling


def make_prior(trainee: Trainee, prompt: str, count: int, seed: int) -> Float[Tensor, "n c h w"]:
    """Make latents of `count` squares of the class prompt.

    Pipelines of DDPM's noise draw as they do for anybody, with DDIM and their own guidance. Rectified flow is
    integrated by Euler's method without guidance.
    """
    generator = torch.Generator().manual_seed(seed)
    if trainee.is_flow:
        return _sample_flow(trainee, prompt, count, generator)
    pipe = trainee.pipe
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    prompts = [prompt] * count
    return pipe(prompts, num_inference_steps=STEPS, generator=generator, output_type="latent").images


@torch.no_grad()
def _sample_flow(trainee: Trainee, prompt: str, count: int, generator: torch.Generator) -> Tensor:
    """From noise to a picture along the velocity, through the schedule's own times."""
    model = trainee.condition(prompt)
    cells = model.resolution // model.downscale
    device = next(trainee.network.parameters()).device
    z = torch.randn(count, model.channels, cells, cells, generator=generator).to(device)
    rows = torch.linspace(len(model.schedule) - 1, 0, STEPS).round().long()
    sigmas = torch.cat([model.schedule.sigma[rows], torch.zeros(1)]).tolist()
    for at, following in pairwise(sigmas):
        t = torch.full((count,), at * trainee.timesteps, device=device)
        z = z + (following - at) * model.predict(z, t)
    return z
