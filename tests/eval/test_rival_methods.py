"""Newer membership tests: each finds members where the answer is known, and follows its equation."""

import dataclasses

import pytest
import torch
from sklearn.linear_model import QuantileRegressor

from cgidm import IdentityCodec, ModelPair, Schedule
from cgidm.judging.mirror_test import MIRROR_SEED
from cgidm.method.mirror import mirror_scores
from cgidm.method.sampling import picture_generator
from eval.benchmark.methods import (
    FCRE,
    METHODS,
    AngleToNoise,
    Anisotropy,
    CalibratedLoss,
    Case,
    Mirror,
    QuantileRegression,
    RecoverLike,
)
from eval.benchmark.methods.fcre import band_energy
from eval.benchmark.methods.mc_cal import spatial_complexity
from eval.benchmark.methods.quantile import picture_features
from tests.support.worlds import generators, stable_diffusion_schedule, world

WORLDS = 4
OTHERS = {n: METHODS[n] for n in ("quantile", "anisotropy", "angle_to_noise")}  # no statistic of one model
every_other = pytest.mark.parametrize("method", OTHERS.values(), ids=OTHERS)


class Constant:
    """Predicts the same noise everywhere."""

    def __init__(self, eps):
        self.eps = eps

    def predict_eps(self, x_t, t):
        return self.eps.expand_as(x_t)


class Velocity(Constant):
    """Predicts the same velocity everywhere."""

    def predict_velocity(self, x_t, t):
        return self.eps.expand_as(x_t)


class Counted:
    def __init__(self, model):
        self.model, self.samples = model, 0

    def predict_eps(self, x_t, t):
        self.samples += len(x_t)
        return self.model.predict_eps(x_t, t)


def case(pair, z, first=0, blank=None):
    """A case whose null pictures are from another world, and whose blank prompt calls up the base."""
    names = tuple(f"picture {first + i}" for i in range(len(z)))
    nulls = torch.cat(world(99)[1:] + world(98)[1:])
    blank = blank or ModelPair(pair.base, pair.base, pair.schedule)
    images, groups = torch.zeros(len(z), 3, 8, 8), torch.zeros(len(z)).long()
    return Case(pair, lambda: blank, images, z, names, groups, null_pictures=lambda: nulls)


def answers(method, pair, z, first=0):
    return {a.measure: a.scores for a in method(case(pair, z, first))}


def auc(members, holdouts):
    return ((members[:, None] > holdouts).double() + (members[:, None] == holdouts).double() / 2).mean().item()


@every_other
def test_members_score_higher(method):
    found: dict[str, list[float]] = {}
    for seed in range(WORLDS):
        pair, *pictures = world(seed)
        members, holdouts = (answers(method, pair, z, 100 * i) for i, z in enumerate(pictures))
        for measure, scores in members.items():
            found.setdefault(measure, []).append(auc(scores, holdouts[measure]))
    assert all(min(aucs) > 0.5 and sum(aucs) / WORLDS >= 0.9 for aucs in found.values()), found


@every_other
def test_a_picture_does_not_depend_on_its_batch_nor_on_global_randomness(method):
    pair, _, holdouts = world(1)
    together = answers(method, pair, holdouts[:4])
    before = torch.get_rng_state()
    alone = [answers(method, pair, holdouts[i : i + 1], i) for i in range(4)]
    assert torch.equal(torch.get_rng_state(), before)
    for measure, scores in together.items():
        assert scores.shape == (4,) and not scores.requires_grad
        torch.testing.assert_close(scores, torch.cat([a[measure] for a in alone]), rtol=1e-6, atol=1e-6)


@every_other
def test_a_model_against_itself_tells_nothing(method):
    pair, members, _ = world(0)
    same = ModelPair(pair.base, pair.base, pair.schedule, codec=IdentityCodec())
    assert not answers(method, same, members)["contrast"].any()


@every_other
def test_evaluations_are_those_of_the_models(method):
    """Null pictures are asked about besides, once for a suspect."""
    pair, members, _ = world(0)
    base, suspect, blank = Counted(pair.base), Counted(pair.suspect), Counted(pair.base)
    given = case(ModelPair(base, suspect, pair.schedule), members[:3], blank=ModelPair(blank, blank, pair.schedule))
    method(given)
    nulls = 2 * 32 * method.draws if method.name == "quantile" else 0
    assert base.samples + suspect.samples + blank.samples == 3 * method.evaluations + nulls


def test_a_case_without_null_pictures_says_so():
    pair, members, _ = world(0)
    given = dataclasses.replace(case(pair, members), null_pictures=Case.null_pictures)
    with pytest.raises(ValueError, match="no null pictures"):
        QuantileRegression()(given)


def test_quantile_is_the_distance_from_a_fit_on_null_pictures_alone():
    pair, members, _ = world(2)
    method = QuantileRegression(quantile=0.9, draws=2)
    given = case(pair, members)
    nulls, schedule = given.null_pictures(), pair.schedule

    def statistic(z, drawn):
        losses = []
        for x, g in zip(z, drawn, strict=True):
            eps = torch.randn(2, *x.shape, generator=g, dtype=torch.float64)
            x_t = schedule.alpha[100] * x + schedule.sigma[100] * eps
            predicted = pair.suspect.predict_eps(x_t, torch.tensor([100, 100]))
            losses.append((predicted - eps).square().sum() / 2)
        return -torch.stack(losses).log()

    drawn = [picture_generator(0, f"null picture {i}", "quantile") for i in range(32)]
    x = picture_features(nulls)
    centred = [(f - x.mean(0)) / x.std(0, correction=0) for f in (x, picture_features(members))]
    rule = QuantileRegressor(quantile=0.9, alpha=0.0, solver="highs")
    rule.fit(centred[0].numpy(), statistic(nulls, drawn).numpy())
    expected = statistic(members, given.generators("quantile")) - torch.from_numpy(rule.predict(centred[1].numpy()))
    torch.testing.assert_close(method(given)[0].scores, expected, rtol=1e-6, atol=1e-6)


def test_anisotropy_and_angle_by_hand():
    """Where f - b points against b, at right angles to it, and at the drawn noise."""
    b, across = torch.zeros(1, 2, 8, 8).double(), torch.zeros(1, 2, 8, 8).double()
    b[:, 0], across[:, 1] = 1, 1
    schedule, z = stable_diffusion_schedule(), torch.zeros(2, 2, 8, 8).double()
    for suspect, cosine in ((b - 0.5 * b, -1.0), (b + across, 0.0), (b + b + 2 * across, 5**-0.5)):
        pair = ModelPair(Constant(b), Constant(suspect), schedule)
        found = answers(Anisotropy(), pair, z)["contrast"]
        torch.testing.assert_close(found, torch.full((2,), -cosine).double())
    far = ModelPair(Constant(1e6 * b), Constant(0 * b), schedule)  # the noise hardly counts beside the base's answer
    torch.testing.assert_close(answers(AngleToNoise(), far, z)["contrast"], torch.ones(2).double())


def test_a_suspect_that_takes_no_prompt_has_no_angle_with_itself():
    pair, members, _ = world(0)
    found = {a.measure: a.scores for a in Anisotropy()(case(pair, members, blank=pair))}
    assert not found["suspect"].any() and found["contrast"].all()


def test_frequencies_add_up_to_the_picture_and_a_ring_holds_its_own():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 8, 8, generator=g, dtype=torch.float64)
    torch.testing.assert_close(band_energy(x, 0, 1), x.square().sum((1, 2, 3)))
    flat, wave = torch.ones(1, 1, 8, 8), torch.tensor([1.0, -1]).repeat(4).expand(1, 1, 8, 8)
    assert band_energy(flat, 0.15, 0.85).item() == pytest.approx(0, abs=1e-9)
    assert band_energy(wave, 0.15, 0.85).item() == pytest.approx(64)  # at 1 / sqrt(2) of the largest radius
    chequered = wave * wave.mT
    assert band_energy(chequered, 0.15, 0.85).item() == pytest.approx(0, abs=1e-9)


def test_fcre_by_hand():
    """A model that sees no noise leaves x_t, scaled, so the error is that of the noise in its band."""
    schedule, z = stable_diffusion_schedule(), torch.zeros(2, 1, 8, 8).double()
    method = FCRE(draws=1)
    score = method.statistic(Constant(torch.zeros(1).double()), schedule, z, generators(2))
    scale = schedule.sigma[200] * schedule.alpha[0] / schedule.alpha[200]
    for i in range(2):
        eps = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        torch.testing.assert_close(score[i], -band_energy(scale * eps, 0.15, 0.85)[0])


def test_recover_like_comes_back_where_the_model_sees_no_noise_and_nothing_is_disturbed():
    schedule, z = stable_diffusion_schedule(), world(0)[1][:3]
    still = Constant(torch.zeros(1).double())
    quiet = RecoverLike(disturbance=0.0)
    torch.testing.assert_close(quiet.statistic(still, schedule, z, generators(3)), torch.zeros(3).double())
    loud = RecoverLike().statistic(still, schedule, z, generators(3))
    assert (loud < -1).all()


def test_spatial_complexity_counts_adjacent_cells_and_divides_the_loss():
    stripes = torch.tensor([0.0, 2.0]).repeat(4).expand(1, 1, 8, 8)
    assert spatial_complexity(stripes).item() == pytest.approx(1)  # 2 along rows, 0 along columns
    assert spatial_complexity(torch.ones(1, 1, 8, 8)).item() > 0
    schedule, z = stable_diffusion_schedule(), world(0)[1][:2]
    score = CalibratedLoss().statistic(Constant(torch.zeros(1).double()), schedule, z, generators(2))
    doubled = CalibratedLoss().statistic(Constant(torch.zeros(1).double()), schedule, 2 * z, generators(2))
    torch.testing.assert_close(score, 2 * doubled)  # the loss is of the noise alone


def test_mc_cal_of_rectified_flow_is_of_the_velocity():
    schedule = Schedule.flow(torch.linspace(0.01, 0.99, 20).double())
    z = world(0)[1][:1]
    score = CalibratedLoss().statistic(Velocity(-z), schedule, z, generators(1))  # u = -z is off by eps alone
    assert -score.item() * spatial_complexity(z).item() == pytest.approx(64, rel=0.2)


def test_the_mirror_method_is_the_librarys():
    pair, *_ = world(0, channels=3)
    pair = ModelPair(pair.base, pair.suspect, pair.schedule, codec=IdentityCodec())
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = dataclasses.replace(case(pair, images), images=images)
    (found,) = Mirror(draws=4)(given)
    expected = [s.value for s in mirror_scores(pair, images, 4, MIRROR_SEED)]
    assert (found.measure, found.evaluations) == ("contrast", 16) and found.scores.tolist() == pytest.approx(expected)
