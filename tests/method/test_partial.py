"""What is removed, and what must be left."""

import pytest
import torch

from cgidm import IdentityCodec, block_mask, make_partial
from cgidm.method.partial import gaussian_blur, interpolate, right_half_mask
from tests.support.errors import refuses


@pytest.mark.parametrize("block", [2, 4, 8])
def test_block_masks_keep_half_in_a_checkerboard(block):
    mask = block_mask(64, 64, block)[0, 0]
    cell = block // 2
    assert mask.mean() == 0.5
    for row in range(0, 64, 7):
        for column in range(0, 64, 5):
            assert mask[row, column] == ((row // cell + column // cell) % 2 == 0)


@pytest.mark.parametrize("start", ["reencoded", "interpolated"])
@pytest.mark.parametrize("kind", ["block2", "block4", "block8", "right_half"])
def test_kept_cells_are_exact_and_removed_cells_know_nothing(kind, start):
    images = torch.rand(2, 3, 16, 16)
    z = IdentityCodec().encode(images)
    partial = make_partial(kind, IdentityCodec(), images, z, start)
    assert torch.equal(partial.mask * partial.start, partial.mask * z)
    changed = torch.where(partial.mask == 1, z, -z)
    other = make_partial(kind, IdentityCodec(), (changed + 1) / 2, changed, start)
    assert torch.equal(partial.start, other.start)


@pytest.mark.parametrize("mask", [block_mask(16, 16, 4), block_mask(16, 16, 8), right_half_mask(16, 16)])
def test_holes_are_filled_from_around_them(mask):
    flat = torch.full((1, 2, 16, 16), 3.0)
    torch.testing.assert_close(interpolate(mask * flat, mask), flat)  # what is the same everywhere comes back
    z = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    filled = interpolate(mask * z, mask)
    assert torch.equal(mask * filled, mask * z) and filled.abs().max() <= z.abs().max()
    assert ((1 - mask) * filled).abs().sum() > 0


def test_the_mean_of_the_kept_neighbours_by_hand():
    z = torch.zeros(1, 1, 1, 7)
    z[..., 0], z[..., 1], z[..., 6] = 1.0, 2.0, 5.0
    mask = torch.tensor([1.0, 1, 0, 0, 0, 0, 1])[None, None, None]
    filled = interpolate(z, mask)[0, 0, 0]
    torch.testing.assert_close(filled, torch.tensor([1.0, 2.0, 1.5, 2.0, 5.0, 5.0, 5.0]))
    with refuses("method.nothing_kept"):
        interpolate(z, torch.zeros_like(mask))


def test_blur_keeps_no_cell_and_smooths():
    images = torch.rand(1, 3, 64, 64)
    partial = make_partial("blur", IdentityCodec(), images, 2 * images - 1)
    assert partial.mask.sum() == 0 and partial.start.std() < images.std()
    assert gaussian_blur(torch.full((1, 3, 8, 8), 0.5), 2.0).std() < 1e-6


@pytest.mark.parametrize("block", [0, 3, -2])
def test_impossible_blocks_are_refused(block):
    with refuses("method.block_size", given=block):
        block_mask(8, 8, block)
