"""Every membership method finds members where the answer is known, and keeps what its interface promises."""

import pytest
import torch

from cgidm import IdentityCodec, ModelPair, Schedule
from cgidm.method.scores import loss_contrast
from eval.benchmark.methods import METHODS, PFAMI, PIA, Loss, LossContrast, MembershipTest, SecMI, SimA
from eval.benchmark.methods.base import Case, row_of
from eval.benchmark.methods.clid import CLiD
from eval.benchmark.methods.pfami import central_crop
from tests.support.worlds import generators, stable_diffusion_schedule, world

WORLDS = 4
TESTS = {n: m for n, m in METHODS.items() if isinstance(m, MembershipTest | LossContrast)} | {"clid": CLiD()}
MEASURES = [(n, m) for n in TESTS for m in ("suspect", "contrast") if (n, m) != ("loss_contrast", "suspect")]
every_method = pytest.mark.parametrize("method", TESTS.values(), ids=TESTS)
every_measure = pytest.mark.parametrize("name, measure", MEASURES)


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


def case(pair, z, first=0, seed=0):
    """The blank prompt calls up nothing in the suspect but what the base knows."""
    blank = ModelPair(pair.base, pair.base, pair.schedule)
    names = tuple(f"picture {first + i}" for i in range(len(z)))
    return Case(pair, lambda: blank, torch.zeros(len(z), 3, 8, 8), z, names, torch.zeros(len(z)).long(), seed=seed)


def answers(method, *given, **settings):
    """measure -> scores."""
    return {a.measure: a.scores for a in method(case(*given, **settings))}


def auc(members, holdouts):
    wins, ties = members[:, None] > holdouts, members[:, None] == holdouts
    return (wins.double() + ties.double() / 2).mean().item()


def every_nth_row(n):
    full = stable_diffusion_schedule()
    return Schedule(full.alpha[::n], full.sigma[::n], full.timesteps[::n])


def latents(n=3):
    return torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@every_measure
def test_members_score_higher(name, measure):
    aucs = []
    for seed in range(WORLDS):
        pair, *pictures = world(seed)
        members, holdouts = (answers(TESTS[name], pair, z, first=100 * i) for i, z in enumerate(pictures))
        aucs.append(auc(members[measure], holdouts[measure]))
    assert min(aucs) > 0.5
    assert sum(aucs) / WORLDS >= 0.9


@pytest.mark.parametrize("name", [n for n, m in MEASURES if m == "suspect"])
def test_nothing_to_find_in_an_innocent_suspect(name):
    aucs = []
    for seed in range(2 * WORLDS):
        pair, *pictures = world(seed)
        innocent = ModelPair(pair.base, pair.base, pair.schedule)
        # names of their own: else all worlds would meet the same noise, and err together
        firsts = (1000 * seed, 1000 * seed + 100)
        members, holdouts = (
            answers(TESTS[name], innocent, z, first=first) for first, z in zip(firsts, pictures, strict=True)
        )
        aucs.append(auc(members["suspect"], holdouts["suspect"]))
    # Eight AUCs of 8 against 8 scatter around 0.5; one such AUC has a standard error of 0.15.
    assert abs(sum(aucs) / len(aucs) - 0.5) < 0.13


@every_method
def test_a_model_against_itself_is_exactly_zero(method):
    pair, members, _ = world(0)
    innocent = ModelPair(pair.base, pair.base, pair.schedule, codec=IdentityCodec())
    assert answers(method, innocent, members)["contrast"].tolist() == [0.0] * 8


@every_method
def test_a_picture_does_not_depend_on_its_batch(method):
    pair, _, holdouts = world(1)
    together = answers(method, pair, holdouts[:4])
    alone = [answers(method, pair, holdouts[i : i + 1], first=i) for i in range(4)]
    for measure, scores in together.items():
        torch.testing.assert_close(scores, torch.cat([a[measure] for a in alone]), rtol=1e-9, atol=1e-9)


@every_method
def test_evaluations_are_counted_right(method):
    """Those of the last measure are all that is run; "suspect" is what the suspect was asked, which is half."""
    pair, members, _ = world(0)
    base, tuned = Counted(pair.base), Counted(pair.suspect)
    blank = ModelPair(Counted(pair.base), Counted(pair.base), pair.schedule)
    given = case(ModelPair(base, tuned, pair.schedule), members[:3])
    found = {a.measure: a.evaluations for a in method(Case(**(vars(given) | {"blank": lambda: blank})))}
    of_suspect, of_base = tuned.samples + blank.suspect.samples, base.samples + blank.base.samples
    assert found["contrast"] == method.evaluations
    assert of_suspect + of_base == 3 * method.evaluations and of_suspect == of_base
    assert found.get("suspect", method.evaluations // 2) * 3 == of_suspect


@every_method
def test_same_seed_same_score_and_no_global_randomness(method):
    pair, _, holdouts = world(0)
    before = torch.get_rng_state()
    first = answers(method, pair, holdouts)
    torch.manual_seed(1234)
    again = answers(method, pair, holdouts)
    torch.set_rng_state(before)
    answers(method, pair, holdouts)
    assert first.keys() == again.keys() and all(torch.equal(first[m], again[m]) for m in first)
    assert torch.equal(torch.get_rng_state(), before)


@every_method
def test_scores_carry_no_gradient_and_keep_the_latent_as_it_was(method):
    pair, members, _ = world(0)
    z = members.clone()
    for scores in answers(method, pair, z).values():
        assert scores.shape == (8,) and not scores.requires_grad
    assert torch.equal(z, members)


@every_measure
def test_a_short_schedule_is_walked_in_the_same_shares(name, measure):
    pair, *pictures = world(0)
    schedule = every_nth_row(10)
    models = [type(m)(m.data, schedule) for m in (pair.base, pair.suspect)]
    short = ModelPair(*models, schedule)
    members, holdouts = (answers(TESTS[name], short, z, first=100 * i) for i, z in enumerate(pictures))
    assert auc(members[measure], holdouts[measure]) > 0.7


def test_rows_are_shares_of_the_schedule():
    schedule = stable_diffusion_schedule()
    assert [row_of(schedule, s) for s in (0, 100, 999)] == [0, 100, 999]
    assert [row_of(every_nth_row(20), s) for s in (0, 100, 200, 999)] == [0, 5, 10, 49]


def test_names_are_keys():
    assert [m.name for m in METHODS.values()] == list(METHODS)


@pytest.mark.parametrize("name", [n for n, m in TESTS.items() if isinstance(m, MembershipTest)])
def test_contrast_is_the_difference_on_the_same_draws(name):
    pair, _, holdouts = world(2)
    method, given = TESTS[name], case(pair, holdouts)
    suspect, base = (
        method.statistic(m, pair.schedule, holdouts, given.generators(name)) for m in (pair.suspect, pair.base)
    )
    found = answers(method, pair, holdouts)
    assert list(found) == ["suspect", "contrast"]
    assert torch.equal(found["suspect"], suspect)
    assert torch.equal(found["contrast"], suspect - base)


def test_loss_contrast_is_the_library_s():
    pair, members, _ = world(0)
    expected = loss_contrast(pair, members, 20, case(pair, members).generators("loss_contrast"))
    found = answers(METHODS["loss_contrast"], pair, members)
    assert list(found) == ["contrast"] and torch.equal(found["contrast"], expected)


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
