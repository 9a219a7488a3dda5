"""Every membership method finds members where the answer is known, and keeps what its interface promises."""

import pytest
import torch

from cgidm import IdentityCodec, ModelPair, Schedule
from cgidm.scores import loss_contrast
from eval.methods import METHODS, PFAMI, PIA, Contrast, Loss, SecMI, SimA
from eval.methods.base import row_of
from eval.methods.pfami import central_crop

from .worlds import generators, stable_diffusion_schedule, world

WORLDS = 4
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_contrast = pytest.mark.parametrize(
    "method", [m for n, m in METHODS.items() if n.endswith("contrast")], ids=[n for n in METHODS if "contrast" in n]
)


class Counted:
    """A model that counts the samples it is asked about."""

    def __init__(self, model):
        self.model, self.samples = model, 0

    def predict_eps(self, x_t, t):
        self.samples += len(x_t)
        return self.model.predict_eps(x_t, t)


class Linear:
    """eps(x, t) = k(t) x, so that every path is a product of numbers."""

    def predict_eps(self, x_t, t):
        return self.k(t)[:, None, None, None] * x_t

    @staticmethod
    def k(t):
        return 0.1 + t / 500


def auc(members, holdouts):
    wins, ties = members[:, None] > holdouts, members[:, None] == holdouts
    return (wins.double() + ties.double() / 2).mean().item()


def every_nth_row(n):
    full = stable_diffusion_schedule()
    return Schedule(full.alpha[::n], full.sigma[::n], full.timesteps[::n])


def latents(n=3):
    return torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@every_method
def test_members_score_higher(method):
    aucs = []
    for seed in range(WORLDS):
        pair, members, holdouts = world(seed)
        aucs.append(auc(method(pair, members, generators(8)), method(pair, holdouts, generators(8, 100))))
    assert min(aucs) > 0.5
    assert sum(aucs) / WORLDS >= 0.9


@pytest.mark.parametrize("name", [n for n in METHODS if "contrast" not in n])
def test_nothing_to_find_in_an_innocent_suspect(name):
    method, aucs = METHODS[name], []
    for seed in range(2 * WORLDS):
        pair, members, holdouts = world(seed)
        innocent = ModelPair(pair.base, pair.base, pair.schedule)
        aucs.append(auc(method(innocent, members, generators(8)), method(innocent, holdouts, generators(8, 100))))
    # Eight AUCs of 8 against 8 scatter around 0.5; one such AUC has a standard error of 0.15.
    assert abs(sum(aucs) / len(aucs) - 0.5) < 0.13


@every_contrast
def test_a_model_against_itself_is_exactly_zero(method):
    pair, members, _ = world(0)
    innocent = ModelPair(pair.base, pair.base, pair.schedule, IdentityCodec())
    assert method(innocent, members, generators(8)).tolist() == [0.0] * 8


@every_method
def test_a_picture_does_not_depend_on_its_batch(method):
    pair, _, holdouts = world(1)
    together = method(pair, holdouts[:4], generators(4))
    alone = torch.cat([method(pair, holdouts[i : i + 1], generators(1, i)) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


@every_method
def test_evaluations_are_counted_right(method):
    pair, members, _ = world(0)
    base, tuned = Counted(pair.base), Counted(pair.finetuned)
    method(ModelPair(base, tuned, pair.schedule), members[:3], generators(3))
    assert base.samples + tuned.samples == 3 * method.evaluations
    assert base.samples in (0, tuned.samples)


@every_method
def test_same_seed_same_score_and_no_global_randomness(method):
    pair, _, holdouts = world(0)
    before = torch.get_rng_state()
    first = method(pair, holdouts, generators(8))
    torch.manual_seed(1234)
    again = method(pair, holdouts, generators(8))
    torch.set_rng_state(before)
    method(pair, holdouts, generators(8))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


@every_method
def test_scores_carry_no_gradient_and_keep_the_latent_as_it_was(method):
    pair, members, _ = world(0)
    z = members.clone()
    scores = method(pair, z, generators(8))
    assert scores.shape == (8,) and not scores.requires_grad
    assert torch.equal(z, members)


@every_method
def test_a_short_schedule_is_walked_in_the_same_shares(method):
    pair, members, holdouts = world(0)
    schedule = every_nth_row(10)
    models = [type(m)(m.data, schedule) for m in (pair.base, pair.finetuned)]
    short = ModelPair(*models, schedule)
    assert auc(method(short, members, generators(8)), method(short, holdouts, generators(8, 100))) > 0.7


def test_rows_are_shares_of_the_schedule():
    schedule = stable_diffusion_schedule()
    assert [row_of(schedule, s) for s in (0, 100, 999)] == [0, 100, 999]
    assert [row_of(every_nth_row(20), s) for s in (0, 100, 200, 999)] == [0, 5, 10, 49]


def test_names_are_keys():
    assert [m.name for m in METHODS.values()] == list(METHODS)


def test_contrast_is_the_difference_on_the_same_draws():
    pair, _, holdouts = world(2)
    method = Loss()
    suspect, base = (
        method.statistic(m, pair.schedule, holdouts, generators(8, 7)) for m in (pair.finetuned, pair.base)
    )
    used = generators(8, 7)
    assert torch.equal(Contrast(method)(pair, holdouts, used), suspect - base)
    # Both models' share of a picture's randomness is drawn once, so what follows is as after the method alone.
    alone = generators(8, 7)
    method(pair, holdouts, alone)
    assert all(torch.equal(a.get_state(), b.get_state()) for a, b in zip(used, alone, strict=True))


def test_loss_contrast_is_the_library_s():
    pair, members, _ = world(0)
    expected = loss_contrast(pair, members, 20, generators(8))
    assert torch.equal(METHODS["loss_contrast"](pair, members, generators(8)), expected)


def test_loss_by_hand():
    z, schedule = latents(), stable_diffusion_schedule()
    score = Loss(step=100, draws=4).statistic(Linear(), schedule, z, generators(3))
    for i in range(3):
        g, total = torch.Generator().manual_seed(i), 0.0
        for eps in torch.randn(4, 2, 8, 8, generator=g, dtype=torch.float64):
            x_t = schedule.alpha[100] * z[i] + schedule.sigma[100] * eps
            total += ((0.1 + 100 / 500) * x_t - eps).square().sum()
        torch.testing.assert_close(score[i], -total / 4)


def test_secmi_by_hand():
    """Under eps = k x each DDIM step multiplies by one number: the published recursion, written out for it."""
    z, bar = latents(), stable_diffusion_schedule().alpha.square()

    def factor(now, then):
        k = 0.1 + now / 500
        share_of_x_0 = (1 - (1 - bar[now]).sqrt() * k) / bar[now].sqrt()
        return bar[then].sqrt() * share_of_x_0 + (1 - bar[then]).sqrt() * k

    reached = 1.0
    for now in (0, 10, 20, 30, 40, 50, 60, 70, 80, 90):
        reached = reached * factor(now, now + 10)
    returned = reached * factor(100, 110) * factor(110, 100)
    expected = -((returned - reached) ** 2) * z.square().sum((1, 2, 3))
    torch.testing.assert_close(SecMI().statistic(Linear(), stable_diffusion_schedule(), z, []), expected)


def test_pia_by_hand():
    z, schedule = latents(), stable_diffusion_schedule()
    first = 0.1  # k(0)
    again = (0.1 + 200 / 500) * (schedule.alpha[200] + schedule.sigma[200] * first)
    expected = -(first - again).abs() * z.pow(4).sum((1, 2, 3)).pow(1 / 4)
    torch.testing.assert_close(PIA().statistic(Linear(), schedule, z, []), expected)


def test_sima_by_hand():
    z = latents()
    expected = -(0.1 + 100 / 500) * z.pow(4).sum((1, 2, 3)).pow(1 / 4)
    torch.testing.assert_close(SimA().statistic(Linear(), stable_diffusion_schedule(), z, []), expected)


def test_pfami_by_hand():
    z, schedule = latents(), stable_diffusion_schedule()
    method = PFAMI(steps=(50, 300), neighbours=2, largest=0.9, smallest=0.7)
    score = method.statistic(Linear(), schedule, z, generators(3))
    for i in range(3):
        noises = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(i), dtype=torch.float64)

        def loss(x, noises=noises):
            noised = [
                (t, schedule.alpha[t] * x + schedule.sigma[t] * e, e) for t, e in zip((50, 300), noises, strict=True)
            ]
            return sum(((0.1 + t / 500) * x_t - e).square().sum() for t, x_t, e in noised) / 2

        crops = [central_crop(z[i : i + 1], share)[0] for share in (0.9, 0.7)]
        expected = (sum(loss(c) for c in crops) / 2 - loss(z[i])) / loss(z[i])
        torch.testing.assert_close(score[i], expected)


def test_pfami_sees_no_rise_where_neighbours_are_the_picture():
    flat = torch.full((2, 1, 8, 8), 0.7, dtype=torch.float64)
    score = PFAMI().statistic(Linear(), stable_diffusion_schedule(), flat, generators(2))
    torch.testing.assert_close(score, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_crop_keeps_the_middle():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert central_crop(ramp, 1.0).equal(ramp)
    half = central_crop(ramp, 0.5)
    assert half.shape == ramp.shape
    assert half.min() == 2 and half.max() == 5
    assert central_crop(ramp[..., :6, :], 0.01).shape == (1, 1, 6, 8)
