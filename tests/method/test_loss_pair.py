"""However the two terms are asked for, they are the same numbers."""

import multiprocessing
import os
from dataclasses import replace

import pytest
import torch

from cgidm.method.loss_pair import Samples, loss_pair
from tests.support.worlds import world


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def asked(pair, members, rows, **options):
    g = torch.Generator().manual_seed(0)
    n = len(members)
    t = torch.randint(1, len(pair.schedule), (n,), generator=g)
    noise = torch.randn(2, *members.shape, generator=g, dtype=members.dtype)
    return loss_pair(pair, Samples(members, t, *noise), rows, **options)


def equal(first, second):
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.loss, b.loss, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(a.gradient, b.gradient, rtol=1e-9, atol=1e-12)


def test_side_by_side_in_turn_and_in_parts_are_the_same(two_threads):
    pair, members, _ = world(0)
    n = len(members)
    whole = asked(pair, members, 2 * n)
    assert torch.get_num_threads() == 2
    for rows in (1, 2, 3, n, 2 * n - 1):
        equal(asked(pair, members, rows), whole)
    alone = asked(pair, members, 2 * n, gradient=False)
    assert all(a.loss.equal(b.loss) and not a.gradient.any() for a, b in zip(alone, whole, strict=True))


def test_two_models_work_in_two_threads_and_what_one_raises_is_raised(two_threads):
    import threading

    pair, members, _ = world(0)
    where = {}

    class Watched:
        def __init__(self, name, model):
            self.name, self.model = name, model

        def predict_eps(self, x_t, t):
            where[self.name] = (threading.get_ident(), torch.get_num_threads())
            return self.model.predict_eps(x_t, t)

    class Broken:
        def predict_eps(self, x_t, t):
            raise FloatingPointError("as it was raised")

    watched = replace(pair, base=Watched("base", pair.base), suspect=Watched("suspect", pair.suspect))
    asked(watched, members, 16)
    assert where["base"][0] != where["suspect"][0] and [n for _, n in where.values()] == [1, 1]
    asked(watched, members, len(members))
    assert where["base"] == where["suspect"] == (threading.get_ident(), 2)
    for broken in (replace(pair, base=Broken()), replace(pair, suspect=Broken())):
        with pytest.raises(FloatingPointError, match="as it was raised"):
            asked(broken, members, 16)
        assert torch.get_num_threads() == 2
    equal(asked(pair, members, 16), asked(pair, members, 1))


def _in_a_child(queue, pair, members):
    torch.set_num_threads(2)
    queue.put(asked(pair, members, 16, gradient=False)[0].loss.tolist())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_has_another_thread_of_its_own(two_threads):
    pair, members, _ = world(0)
    here = asked(pair, members, 16, gradient=False)[0].loss.tolist()
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue, pair, members))
    child.start()
    assert queue.get(timeout=60) == here
    child.join(60)
    assert child.exitcode == 0
