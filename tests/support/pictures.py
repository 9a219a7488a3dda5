"""Smooth random pictures, and a pair of closed-form models of which one has learnt some of them."""

import torch

from cgidm import IdentityCodec, ModelPair
from cgidm.pictures.images import Picture
from tests.support.worlds import SIDE, IdealEpsModel, stable_diffusion_schedule


def square(seed=0, side=40):
    """A smooth picture of 8 bits."""
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    image = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0].clamp(0, 1)
    return (image * 255).round() / 255


def picture(seed, side=SIDE):
    return Picture(f"{seed}.png", f"{seed:064x}", square(seed, side))


def pair_that_learnt(images):
    """A base that knows 32 other pictures, and a suspect that has learnt these as well; ideal denoisers."""
    schedule, codec = stable_diffusion_schedule(torch.float32), IdentityCodec()
    public = codec.encode(torch.stack([square(1000 + i, SIDE) for i in range(32)]))
    learnt = torch.cat([public, codec.encode(torch.stack(images))])
    base, tuned = IdealEpsModel(public, schedule), IdealEpsModel(learnt, schedule)
    return ModelPair(base, tuned, schedule, codec=codec, resolution=SIDE)
