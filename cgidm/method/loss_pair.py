"""Loss and gradient of base and suspect: one after the other, or concurrently where that is faster.

A network that is given few rows leaves most of a processor idle. For few rows both models therefore compute at the
same time: on a CPU in two threads, on a GPU in one call if base and suspect share their weights.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .models import EpsModel, ModelPair
from .objective import denoising_loss


@dataclass(frozen=True, eq=False)
class LossAndGrad:
    """One model's denoising loss of each sample, and its gradient with respect to `z`.

    Attributes:
        loss: the denoising loss.
        gradient: the gradient; zeros if it was not computed.
    """

    loss: Float[Tensor, " n"]
    gradient: Float[Tensor, "n c h w"]


@dataclass(frozen=True, eq=False)
class Samples:
    """Where the losses are evaluated. Both models get the same noise, except in the `reference` preset."""

    z: Float[Tensor, "n c h w"]
    t: Int[Tensor, " n"]
    eps: Float[Tensor, "n c h w"]
    eps_suspect: Float[Tensor, "n c h w"]

    def part(self, rows: Tensor) -> "Samples":
        """Select rows."""
        return Samples(self.z[rows], self.t[rows], self.eps[rows], self.eps_suspect[rows])


def loss_pair(
    pair: ModelPair, samples: Samples, rows_per_call: int, *, gradient: bool = True
) -> tuple[LossAndGrad, LossAndGrad]:
    """Compute the base's and the suspect's losses and gradients.

    With more than `rows_per_call` rows, the models compute one after the other: only one graph is alive at a time.

    Args:
        pair: the two models.
        samples: n samples of (z, t, eps).
        rows_per_call: most rows in work at a time, both models together.
        gradient: False computes the losses alone.

    Returns:
        The base's and the suspect's.
    """
    rows = torch.arange(len(samples.z), device=samples.z.device)
    compute = _sequential if 2 * len(rows) > rows_per_call else _fastest(pair)
    calls = -(-len(rows) // rows_per_call)
    parts = [samples.part(some) for some in rows.tensor_split(calls)]  # of about the same size
    base, suspect = zip(*(compute(pair, part, gradient) for part in parts), strict=True)
    return _concatenate(base), _concatenate(suspect)


Strategy = Callable[[ModelPair, Samples, bool], tuple[LossAndGrad, LossAndGrad]]


def _fastest(pair: ModelPair) -> Strategy:
    """Choose for few rows. Two networks on a GPU, or a single thread, gain nothing from concurrency."""
    if pair.device.type == "cpu" and torch.get_num_threads() > 1:
        return _concurrent
    return _sequential if pair.joint is None else _joint


def _sequential(pair: ModelPair, at: Samples, gradient: bool) -> tuple[LossAndGrad, LossAndGrad]:
    base = _loss_and_grad(pair.base, pair, at.z, at.t, at.eps, gradient)
    return base, _loss_and_grad(pair.suspect, pair, at.z, at.t, at.eps_suspect, gradient)


def _joint(pair: ModelPair, at: Samples, gradient: bool) -> tuple[LossAndGrad, LossAndGrad]:
    """Both models in one call of their shared network."""
    assert pair.joint is not None
    eps = torch.cat([at.eps, at.eps_suspect])
    both = _loss_and_grad(pair.joint, pair, at.z.repeat(2, 1, 1, 1), at.t.repeat(2), eps, gradient)
    losses, gradients = both.loss.chunk(2), both.gradient.chunk(2)
    return LossAndGrad(losses[0], gradients[0]), LossAndGrad(losses[1], gradients[1])


def _concurrent(pair: ModelPair, at: Samples, gradient: bool) -> tuple[LossAndGrad, LossAndGrad]:
    """Each model in a thread of its own, with half of the CPU threads."""
    threads = torch.get_num_threads()

    def suspect() -> LossAndGrad:
        torch.set_num_threads(threads // 2)  # the setting belongs to the calling thread
        return _loss_and_grad(pair.suspect, pair, at.z, at.t, at.eps_suspect, gradient)

    pending = _other_thread().submit(suspect)
    torch.set_num_threads(threads // 2)
    try:
        return _loss_and_grad(pair.base, pair, at.z, at.t, at.eps, gradient), pending.result()
    finally:
        torch.set_num_threads(threads)


@lru_cache(1)
def _other_thread() -> ThreadPoolExecutor:
    """The second thread, created once: a new thread has to allocate its memory first, which costs the gain."""
    return ThreadPoolExecutor(1)


os.register_at_fork(after_in_child=_other_thread.cache_clear)  # no thread survives a fork


def _loss_and_grad(model: EpsModel, pair: ModelPair, z: Tensor, t: Tensor, eps: Tensor, gradient: bool) -> LossAndGrad:
    with torch.set_grad_enabled(gradient):
        z = z.detach().requires_grad_(gradient)
        loss = denoising_loss(model, pair.schedule, z, t, eps)
        if not gradient:
            return LossAndGrad(loss, torch.zeros_like(z))
        (found,) = torch.autograd.grad(loss.sum(), z)
    return LossAndGrad(loss.detach(), found)


def _concatenate(parts: Sequence[LossAndGrad]) -> LossAndGrad:
    return LossAndGrad(torch.cat([p.loss for p in parts]), torch.cat([p.gradient for p in parts]))
