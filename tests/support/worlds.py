"""Closed-form worlds: an ideal denoiser of a known set, so that the method's answer is known too."""

import torch
import torch.nn.functional as F

from cgidm import IdentityCodec, ModelPair, Partial, RecoveryConfig, Schedule, block_mask, recover
from cgidm.method.scores import removed_cosine

SIDE = 8


class IdealEpsModel:
    """The closed-form minimiser of the denoising loss over a finite data set."""

    def __init__(self, data, schedule):
        self.data, self.schedule = data, schedule

    def predict_eps(self, x_t, t):
        alpha, sigma = self.schedule.alpha[t][:, None], self.schedule.sigma[t][:, None]
        distance = torch.cdist(x_t.flatten(1) / alpha, self.data.flatten(1)).square()
        posterior = torch.softmax(-distance * alpha.square() / (2 * sigma.square()), dim=1)
        x_0 = torch.einsum("bn,nchw->bchw", posterior, self.data)
        return (x_t - alpha[..., None, None] * x_0) / sigma[..., None, None]


def stable_diffusion_schedule(dtype=torch.float64):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=dtype) ** 2
    return Schedule.ddpm(torch.cumprod(1 - betas, 0))


def world(seed, channels=1, codec=None):
    """A base that knows 64 pictures and a suspect that also learnt 8 members, in float64."""
    g = torch.Generator().manual_seed(seed)

    def make(n):
        coarse = torch.randn(n, channels, 3, 3, generator=g, dtype=torch.float64)
        return F.interpolate(coarse, SIDE, mode="bicubic")

    public, members, holdout = make(64), make(8), make(8)
    schedule = stable_diffusion_schedule()
    base, tuned = IdealEpsModel(public, schedule), IdealEpsModel(torch.cat([public, members]), schedule)
    return ModelPair(base, tuned, schedule, codec=codec or IdentityCodec()), members, holdout


def masked(z):
    """The plain partial representation: removed cells start at zero."""
    mask = block_mask(SIDE, SIDE, 4).to(z.dtype)
    return Partial(mask, mask * z)


def generators(n, first=0):
    return [torch.Generator().manual_seed(first + i) for i in range(n)]


def run(pair, z, first_seed=0, **config):
    config = RecoveryConfig(**({"steps": 50, "step_size": 0.5, "radius": 6.0} | config))
    return list(recover(pair, z, masked(z), config, generators=generators(len(z), first_seed)))


def world_auc(pair, members, holdout, first_seed):
    scores = [removed_cosine(run(pair, z, first_seed)[-1].z, z, masked(z)) for z in (members, holdout)]
    return (scores[0][:, None] > scores[1]).double().mean().item()
