"""The two terms of the contrast for many samples: one after the other, or at once where that is faster.

A network that is given few rows leaves most of a processor idle. So the terms of few samples come at once: side by side
on the CPU, and on a GPU in one call, where base and suspect have their weights in common.
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
class Term:
    """One model's denoising loss of each sample, and its gradient with respect to `z`."""

    loss: Float[Tensor, " n"]
    gradient: Float[Tensor, "n c h w"]  # zeros where none was asked for


@dataclass(frozen=True, eq=False)
class Samples:
    """Where the terms are asked for; each model has its own noise, which is the same unless a deviation is studied."""

    z: Float[Tensor, "n c h w"]
    t: Int[Tensor, " n"]
    eps: Float[Tensor, "n c h w"]
    eps_suspect: Float[Tensor, "n c h w"]

    def part(self, rows: Tensor) -> "Samples":
        """Those rows."""
        return Samples(self.z[rows], self.t[rows], self.eps[rows], self.eps_suspect[rows])


def both_terms(pair: ModelPair, samples: Samples, rows_per_call: int, *, gradient: bool = True) -> tuple[Term, Term]:
    """The base's term and the suspect's.

    At most `rows_per_call` rows are in work at a moment, of both models together. The terms of more
    come one after the other, so that only one graph is alive at a time.
    """
    rows = torch.arange(len(samples.z), device=samples.z.device)
    ask = _in_turn if 2 * len(rows) > rows_per_call else _at_once(pair)
    calls = -(-len(rows) // rows_per_call)
    parts = [samples.part(some) for some in rows.tensor_split(calls)]  # of about the same size
    base, suspect = zip(*(ask(pair, part, gradient) for part in parts), strict=True)
    return _joined(base), _joined(suspect)


Way = Callable[[ModelPair, Samples, bool], tuple[Term, Term]]


def _at_once(pair: ModelPair) -> Way:
    """In turn, too, where nothing is won: two networks on a GPU, or with a single thread."""
    if pair.device.type == "cpu" and torch.get_num_threads() > 1:
        return _side_by_side
    return _in_turn if pair.joint is None else _in_one_call


def _in_turn(pair: ModelPair, at: Samples, gradient: bool) -> tuple[Term, Term]:
    base = _term(pair.base, pair, at.z, at.t, at.eps, gradient)
    return base, _term(pair.suspect, pair, at.z, at.t, at.eps_suspect, gradient)


def _in_one_call(pair: ModelPair, at: Samples, gradient: bool) -> tuple[Term, Term]:
    assert pair.joint is not None
    eps = torch.cat([at.eps, at.eps_suspect])
    both = _term(pair.joint, pair, at.z.repeat(2, 1, 1, 1), at.t.repeat(2), eps, gradient)
    losses, gradients = both.loss.chunk(2), both.gradient.chunk(2)
    return Term(losses[0], gradients[0]), Term(losses[1], gradients[1])


def _side_by_side(pair: ModelPair, at: Samples, gradient: bool) -> tuple[Term, Term]:
    """Each model by half of the threads."""
    threads = torch.get_num_threads()

    def suspect() -> Term:
        torch.set_num_threads(threads // 2)  # how many is a matter of each thread that asks
        return _term(pair.suspect, pair, at.z, at.t, at.eps_suspect, gradient)

    waited = _other_thread().submit(suspect)
    torch.set_num_threads(threads // 2)
    try:
        return _term(pair.base, pair, at.z, at.t, at.eps, gradient), waited.result()
    finally:
        torch.set_num_threads(threads)


@lru_cache(1)
def _other_thread() -> ThreadPoolExecutor:
    """Kept: a new thread has no memory of its own yet, and to give it some costs as much as side by side wins."""
    return ThreadPoolExecutor(1)


os.register_at_fork(after_in_child=_other_thread.cache_clear)  # no thread survives a fork


def _term(model: EpsModel, pair: ModelPair, z: Tensor, t: Tensor, eps: Tensor, gradient: bool) -> Term:
    with torch.set_grad_enabled(gradient):
        z = z.detach().requires_grad_(gradient)
        loss = denoising_loss(model, pair.schedule, z, t, eps)
        if not gradient:
            return Term(loss, torch.zeros_like(z))
        (found,) = torch.autograd.grad(loss.sum(), z)
    return Term(loss.detach(), found)


def _joined(terms: Sequence[Term]) -> Term:
    return Term(torch.cat([t.loss for t in terms]), torch.cat([t.gradient for t in terms]))
