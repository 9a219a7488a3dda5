"""Deterministic DDIM along the rows of a schedule, in either direction; what several tests walk on."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from cgidm.method.models import EpsModel
from cgidm.method.schedule import Schedule
from eval.benchmark.methods.base import predict_at


def ddim_step(
    model: EpsModel, schedule: Schedule, x: Float[Tensor, "b c h w"], row: int, target: int
) -> Float[Tensor, "b c h w"]:
    """Take the deterministic DDIM step (Song et al. 2021, Eq. 12 with sigma = 0) from `row` to `target`."""
    alpha, sigma = schedule.alpha.to(x), schedule.sigma.to(x)
    eps = predict_at(model, x, row)
    x_0 = (x - sigma[row] * eps) / alpha[row]
    return alpha[target] * x_0 + sigma[target] * eps


def ddim_walk(
    model: EpsModel, schedule: Schedule, x: Float[Tensor, "b c h w"], rows: Sequence[int]
) -> Float[Tensor, "b c h w"]:
    """Take a step from each of `rows` to the next: upwards it inverts a picture, downwards it makes one."""
    for row, following in pairwise(rows):
        x = ddim_step(model, schedule, x, row, following)
    return x
