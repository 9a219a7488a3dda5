"""The mirror test's score: its symmetries, and that it knows what was learnt."""

import pytest
import torch

from cgidm.method.config import RunConfig
from cgidm.method.mirror import (
    encode_both,
    is_symmetric,
    mirror_differences,
    mirror_losses,
    mirror_score,
    mirror_scores,
    sample_mirrored,
)
from cgidm.method.models import IdentityCodec, ModelPair
from tests.support.errors import refuses
from tests.support.worlds import SIDE, IdealEpsModel, stable_diffusion_schedule, world


class PlainCodec(IdentityCodec):
    """The worlds' numbers are latents already."""

    def encode(self, images):
        return images


def learnt_world(seed=0):
    """A pair whose suspect learnt 8 of 16 pictures, as three-channel numbers."""
    return world(seed, channels=3, codec=PlainCodec())


def scores(pair, images, draws=8, seed=0):
    return torch.tensor([s.value for s in mirror_scores(pair, images, draws, seed)])


def test_a_learnt_picture_is_better_known_than_its_mirror_image():
    pair, members, holdouts = learnt_world()
    assert scores(pair, members).min() > 1.0
    assert abs(scores(pair, holdouts).mean()) < 0.8 < scores(pair, members).mean()


def test_the_mirror_image_of_a_picture_has_the_opposite_score():
    pair, members, holdouts = learnt_world(1)
    for images in (members, holdouts):
        torch.testing.assert_close(scores(pair, images.flip(-1)), -scores(pair, images))


def test_the_contrast_does_not_tell_a_picture_from_its_mirror_image():
    pair, members, holdouts = learnt_world(1)

    def contrasts(images):
        return torch.tensor([s.contrast for s in mirror_scores(pair, images, 8, 0)])

    for images in (members, holdouts):
        torch.testing.assert_close(contrasts(images.flip(-1)), contrasts(images))
    assert contrasts(members).min() > contrasts(holdouts).max()  # the suspect knows them, in either orientation


def test_a_picture_that_is_its_own_mirror_image_scores_zero():
    pair, members, _ = learnt_world()
    symmetric = (members + members.flip(-1)) / 2
    assert scores(pair, symmetric).abs().max() < 0.01  # `cdist` rounds more than the rest


@pytest.mark.parametrize(("share", "symmetric"), [(0.0, True), (0.009, True), (0.03, False), (1.0, False)])
def test_a_picture_is_symmetric_up_to_a_fiftieth_of_its_contrast(share, symmetric):
    g = torch.Generator().manual_seed(0)
    even, odd = torch.rand(2, 3, 8, 8, generator=g)
    even, odd = even + even.flip(-1), odd - odd.flip(-1)
    even -= even.mean((1, 2), keepdim=True)
    odd *= share * even.abs().mean() / (2 * odd).abs().mean()  # the difference from the mirror image is twice `odd`
    assert is_symmetric(0.5 + even + odd) == symmetric
    assert is_symmetric(torch.full((3, 8, 8), 0.5))


def test_a_suspect_that_learnt_both_orientations_is_not_caught():
    """Where the trainer mirrored its pictures the score sees nothing."""
    pair, members, _ = learnt_world()
    public = torch.cat([pair.base.data, pair.base.data.flip(-1)])
    learnt = torch.cat([public, members, members.flip(-1)])
    base, suspect = (IdealEpsModel(data, pair.schedule) for data in (public, learnt))
    flipped = ModelPair(base, suspect, pair.schedule, codec=PlainCodec())
    assert scores(flipped, members).abs().max() == 0


def test_the_noise_is_closed_under_mirroring_and_the_same_for_every_picture():
    schedule, like = stable_diffusion_schedule(), torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64)
    t, eps = sample_mirrored(schedule, like, 6, 0)
    assert len(t) == len(eps) == 6
    for i in range(3):
        assert t[i] == t[i + 3] and torch.equal(eps[i].flip(-1), eps[i + 3])
    again = sample_mirrored(schedule, like + 1, 6, 0)
    assert torch.equal(eps, again[1]) and not torch.equal(eps, sample_mirrored(schedule, like, 6, 1)[1])


def test_a_score_depends_neither_on_the_batch_nor_on_the_rows_in_a_call():
    pair, members, _ = learnt_world()
    alone = torch.cat([scores(pair, image[None]) for image in members])
    torch.testing.assert_close(scores(pair, members), alone)
    z = encode_both(pair.codec, members[:2])
    few, many = (mirror_losses(pair.base, pair.schedule, z, 8, 0, rows) for rows in (3, 64))
    torch.testing.assert_close(few, many)


def test_the_score_is_the_mean_signed_rank():
    """Computed by hand: ranks 1 to 16 of the sizes, signed, over the root of the sum of their squares."""
    x = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    x[0, 0, 0] *= -1  # ranks 1 to 4
    expected = (sum(range(5, 17)) - sum(range(1, 5))) / sum(r * r for r in range(1, 17)) ** 0.5
    assert mirror_score(x).item() == pytest.approx(expected)
    assert mirror_score(1000 * x).item() == pytest.approx(expected)  # only ranks count


def test_the_error_is_how_much_scores_of_other_noise_differ():
    pair, _, holdouts = learnt_world()
    found = [mirror_scores(pair, holdouts, 24, seed) for seed in range(40)]
    values, errors = (torch.tensor([[getattr(s, name) for s in of] for of in found]) for name in ("value", "error"))
    assert 0.9 < errors.square().mean().sqrt() / values.var(0).mean().sqrt() < 1.6, "stratified times: rather too large"
    assert torch.tensor(mirror_scores(pair, holdouts[:1], 2, 0)[0].error).isnan()


def test_the_differences_are_those_of_the_contrast():
    """Summed over all blocks they are Eq. 7 of the picture minus Eq. 7 of its mirror image."""
    pair, members, _ = learnt_world()
    z = encode_both(pair.codec, members)
    base, suspect = (mirror_losses(m, pair.schedule, z, 4, 0, 64) for m in (pair.base, pair.suspect))
    contrast = (base - suspect).sum((-1, -2))
    blocks = mirror_differences(base, suspect).sum((-1, -2)) * (SIDE / 4) ** 2
    torch.testing.assert_close(blocks, contrast[:, 0] - contrast[:, 1], atol=1e-3, rtol=1e-3)


def test_an_odd_number_of_draws_is_refused():
    with refuses("method.mirror_draws"):
        RunConfig(mirror_draws=3)
    assert RunConfig(mirror_draws=0).mirror_draws == 0
