"""CLiD is the written formula, and finds the picture that its prompt calls up."""

import pytest
import torch

from cgidm import ModelPair
from eval.benchmark.methods.base import Case
from eval.benchmark.methods.clid import CLiD
from tests.support.worlds import stable_diffusion_schedule, world


def case(pair, blank, z, seed=0):
    names = tuple(f"picture {i}" for i in range(len(z)))
    return Case(pair, lambda: blank, torch.zeros(len(z), 3, 8, 8), z, names, torch.zeros(len(z)).long(), seed=seed)


def measures(answers):
    return {a.measure: a for a in answers}


class Linear:
    def __init__(self, k):
        self.k = k

    def predict_eps(self, x_t, t):
        return self.k * x_t


def test_by_hand():
    schedule = stable_diffusion_schedule()
    z = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    pair, blank = (ModelPair(Linear(base), Linear(tuned), schedule) for base, tuned in ((0.2, 0.5), (0.3, 0.9)))
    given = case(pair, blank, z)
    method = CLiD(steps=(100, 450), draws=2)
    answers = measures(method(given))
    for i, generator in enumerate(given.generators("clid")):
        noises = torch.randn(4, 1, 8, 8, generator=generator, dtype=torch.float64)

        def loss(k, i=i, noises=noises):
            rows = zip((100, 100, 450, 450), noises, strict=True)
            return sum((k * (schedule.alpha[t] * z[i] + schedule.sigma[t] * e) - e).square().sum() for t, e in rows) / 4

        suspect, base = loss(0.9) - loss(0.5), loss(0.3) - loss(0.2)
        torch.testing.assert_close(answers["suspect"].scores[i], suspect)
        torch.testing.assert_close(answers["contrast"].scores[i], suspect - base)
    assert (answers["suspect"].evaluations, answers["contrast"].evaluations) == (8, 16)


def test_the_prompt_that_calls_up_the_members():
    """The suspect knows its members under the prompt only, and nothing of them under the blank one."""
    pair, members, holdouts = world(0)
    blank = ModelPair(pair.base, pair.base, pair.schedule)
    of = [measures(CLiD()(case(pair, blank, z))) for z in (members, holdouts)]
    for measure in ("suspect", "contrast"):
        assert of[0][measure].scores.min() > of[1][measure].scores.max()


@pytest.mark.parametrize("measure", ["suspect", "contrast"])
def test_a_prompt_that_nothing_hangs_on_scores_zero(measure):
    pair, members, _ = world(1)
    assert measures(CLiD(draws=1)(case(pair, pair, members)))[measure].scores.tolist() == [0.0] * 8


def test_the_blank_models_are_loaded_once():
    pair, members, _ = world(1)
    given, calls = case(pair, pair, members), []
    given = Case(pair, lambda: calls.append(1) or pair, given.images, given.z, given.sha256, given.groups)
    CLiD(draws=1)(given)
    assert calls == [1]
