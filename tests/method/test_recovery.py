"""The loop: what it must do in worlds whose answer is known, and what it must never do."""

import copy
from dataclasses import replace

import pytest
import torch

from cgidm import ModelPair, Partial, RecoveryConfig, block_mask, recover
from cgidm.judging.flags import check_recovery, median_ratio
from cgidm.method.config import PRESETS
from cgidm.method.scores import loss_contrast, removed_alignment
from tests.support.worlds import SIDE, generators, masked, run, stable_diffusion_schedule, world, world_auc


@pytest.mark.slow
def test_members_come_back_and_holdouts_do_not_in_five_worlds():
    areas = [world_auc(*world(seed), first_seed=100 * seed) for seed in range(5)]
    assert min(areas) >= 0.85, areas


def test_swapping_the_pair_flips_it():
    pair, members, holdout = world(0)
    swapped = ModelPair(pair.suspect, pair.base, pair.schedule)
    assert world_auc(swapped, members, holdout, 0) < 0.5
    member, holdout_ = (removed_alignment(run(swapped, z)[-1].z, z, masked(z)).mean() for z in (members, holdout))
    assert member < 0.2 and member <= holdout_ + 0.1


@pytest.mark.parametrize("channels", [1, 4], ids=["pixel", "latent"])
def test_equals_an_independent_transcription_of_algorithm_1(channels):
    """Alg. 1 written again, line by line, for one picture, with autograd over the whole contrast at once."""
    pair, members, _ = world(1, channels)
    z, mask = members[:1], block_mask(SIDE, SIDE, 4).double()
    start = mask * z + (1 - mask) * 0.1 * torch.randn(z.shape, generator=generators(1, 7)[0], dtype=z.dtype)
    config = RecoveryConfig(steps=20, step_size=0.4, radius=1.5, min_gradient_ratio=0.0)
    ours = [s.z for s in recover(pair, z, Partial(mask, start), config, generators=generators(1, 3))]

    g, x = generators(1, 3)[0], start.clone()
    for theirs in ours:
        t = torch.randint(1, 1000, (1,), generator=g)
        eps = torch.randn((1, *z.shape[1:]), generator=g, dtype=z.dtype)
        x.requires_grad_(True)
        seen = mask * z + (1 - mask) * x
        a, s = pair.schedule.alpha[t].item(), pair.schedule.sigma[t].item()
        l_tar = (eps - pair.base.predict_eps(a * seen + s * eps, t)).pow(2).sum()
        l_tar = l_tar - (eps - pair.suspect.predict_eps(a * seen + s * eps, t)).pow(2).sum()
        grad = torch.autograd.grad(l_tar, x)[0]
        x = x.detach()
        if grad.norm() > 0:  # the ideal denoiser saturates at the least noise
            x = x + 0.4 * grad / grad.norm()
        moved = x - start
        if moved.norm() > 1.5:
            x = start + moved * 1.5 / moved.norm()
        torch.testing.assert_close(theirs, mask * z + (1 - mask) * x, atol=1e-9, rtol=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_long_run_passes_through_the_ends_of_shorter_ones(preset):
    """Neither a step's length nor its draws depend on how many steps there are: to the last bit, draws included."""
    pair, members, _ = world(1)
    config = replace(PRESETS[preset].recovery, steps=9)
    long = generators(len(members), 3)
    for step in recover(pair, members, masked(members), config, generators=long):
        if step.index + 1 in (2, 5):
            short = generators(len(members), 3)
            of = replace(config, steps=step.index + 1)
            *_, end = recover(pair, members, masked(members), of, generators=short)
            assert all(torch.equal(getattr(end, n), getattr(step, n)) for n in ("z", "delta", "contrast"))
            assert all(torch.equal(a.get_state(), b.get_state()) for a, b in zip(long, short, strict=True))


def test_kept_cells_are_never_touched_and_the_ball_holds():
    pair, members, _ = world(0)
    mask = masked(members).mask
    for step in run(pair, members, steps=30, radius=2.0):
        torch.testing.assert_close(mask * step.z, mask * members, atol=0, rtol=0)
        assert (step.z - mask * members).flatten(1).norm(dim=1).max() <= 2.0 + 1e-9


def test_default_radius_is_each_picture_s_own_distance():
    pair, members, _ = world(0)
    config = RecoveryConfig(steps=60)
    *_, last = recover(pair, members, masked(members), config, generators=generators(8))
    missing = (members - masked(members).start).flatten(1).norm(dim=1)
    moved = (last.z - masked(members).start).flatten(1).norm(dim=1)
    assert (moved <= missing + 1e-9).all() and (moved > 0.5 * missing).any()


def test_same_seed_same_recovery_and_the_global_generator_is_left_alone():
    pair, members, _ = world(0)
    before = torch.get_rng_state()
    a, b, c = (run(pair, members, seed, steps=5)[-1].z for seed in (0, 0, 100))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_a_picture_recovers_alike_alone_and_in_a_batch(rows):
    pair, members, _ = world(0)
    settings = {"steps": 20, "draws": 3, "t_sampling": "stratified", "rows_per_call": rows}
    together = run(pair, members, **settings)[-1].z
    for i in range(len(members)):
        torch.testing.assert_close(run(pair, members[i : i + 1], i, **settings)[-1].z[0], together[i])


def test_an_identical_suspect_does_not_move_and_is_flagged():
    pair, members, _ = world(0)
    steps = run(ModelPair(pair.base, pair.base, pair.schedule), members)
    assert torch.equal(steps[-1].z, masked(members).start)
    assert [f.name for f in check_recovery(*measured(steps))] == ["indistinguishable"]
    assert check_recovery(*measured(run(pair, members))) == ()


def measured(steps, picture=0):
    contrast, ratio = (torch.stack([getattr(s, n)[picture] for s in steps]) for n in ("contrast", "gradient_ratio"))
    return contrast.tolist(), median_ratio(ratio)


class Linear(torch.nn.Module):
    """A network with weights, to see what becomes of them."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t):
        return self.conv(x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_keep_a_float32_state(dtype):
    from cgidm import NetworkEpsModel

    torch.manual_seed(0)
    schedule = stable_diffusion_schedule(torch.float32)
    net = Linear().requires_grad_(False)
    other = copy.deepcopy(net)
    other.conv.weight.add_(0.1)
    z = torch.randn(2, 1, SIDE, SIDE)

    def moved(dtype):
        models = [NetworkEpsModel(copy.deepcopy(n).to(dtype), schedule, "eps", dtype) for n in (net, other)]
        return run(ModelPair(*models, schedule), z, steps=10)[-1].z

    half, full = moved(dtype), moved(torch.float32)
    assert half.dtype == torch.float32 and half.isfinite().all()
    assert torch.nn.functional.cosine_similarity(half.flatten(1), full.flatten(1)).min() > 0.99
    assert all(p.grad is None for p in net.parameters())


def test_loss_contrast_separates_members_without_a_recovery():
    pair, members, holdout = world(0)
    scores = [loss_contrast(pair, z, 20, generators(8)) for z in (members, holdout)]
    assert (scores[0][:, None] > scores[1]).double().mean() >= 0.9


def test_works_under_no_grad():
    pair, members, _ = world(0)
    with torch.no_grad():
        assert not torch.equal(run(pair, members, steps=2)[-1].z, masked(members).start)
