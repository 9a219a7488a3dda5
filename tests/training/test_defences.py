"""Augmentations do what they say with the draws that they are given, and a fine-tuning under each still runs."""

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cgidm.training.defences import GREY, Defence, defend
from cgidm.training.trainer import FinetuneConfig, finetune
from tests.support import tiny

DEFENCES = get_args(Defence)
every_defence = pytest.mark.parametrize("defence", DEFENCES)


def pictures(n=8, side=64):
    """8-bit pictures without any cell of mid-grey, which 8 bits do not have."""
    g = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, 3, side, side), generator=g).float() / 255


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@every_defence
def test_pictures_change_but_stay_pictures(defence):
    before = pictures()
    given = before.clone()
    after = defend(given, defence, seeded())
    assert after.shape == before.shape and after.dtype == before.dtype
    assert after.min() >= 0 and after.max() <= 1
    assert not torch.equal(after, before)
    assert torch.equal(given, before)


@every_defence
def test_all_draws_come_from_the_generator(defence):
    images = pictures()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = defend(images, defence, seeded())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(defend(images, defence, seeded()), first)
    assert not torch.equal(defend(images, defence, seeded(5)), first)
    # one generator goes on from batch to batch
    generator = seeded()
    halves = [defend(part, defence, generator) for part in images.split(4)]
    assert torch.equal(torch.cat(halves), first)


@every_defence
def test_each_picture_has_draws_of_its_own(defence):
    same = pictures(1).expand(16, -1, -1, -1)
    assert len(defend(same, defence, seeded()).flatten(1).unique(dim=0)) > 1


def test_a_flip_gives_the_picture_or_its_mirror_image_half_of_the_time_each():
    images = pictures(200, 4)
    after = defend(images, "flip", seeded())
    mirrored = (after == images.flip(-1)).flatten(1).all(1)
    assert ((after == images).flatten(1).all(1) ^ mirrored).all()
    assert 80 < mirrored.sum() < 120


@pytest.mark.parametrize("side, expected", [(512, 64), (64, 8)])
def test_cutout_is_one_square_that_scales_with_the_picture(side, expected):
    images = pictures(24 if side == 64 else 4, side)
    cut = defend(images, "cutout", seeded()) == GREY
    assert (cut.all(1) == cut.any(1)).all()
    inside = 0
    for mask in cut.all(1):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        size = len(rows), len(columns)
        assert mask.sum() == size[0] * size[1]
        for places, length in zip((rows, columns), size, strict=True):
            at_border = places[0] == 0 or places[-1] == side - 1
            assert length == expected or (at_border and expected // 2 <= length < expected)
        inside += size == (expected, expected)
    assert inside > 0


def test_cutout_s_centre_may_lie_anywhere():
    cut = (defend(pictures(3000, 16), "cutout", seeded()) == GREY).all(1).float().mean(0)
    # a square of 2 starts one cell before its centre, so only the last row and column get half of the chances
    assert cut.min() > 0
    torch.testing.assert_close(cut[:-1, :-1], torch.full((15, 15), 4 / 256), rtol=0, atol=0.012)


def test_randaugment_gives_8_bit_pictures():
    after = defend(pictures(), "randaugment", seeded()) * 255
    torch.testing.assert_close(after, after.round(), rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny fine-tuning with the given settings -> the weights that it wrote."""
    folder = tmp_path_factory.mktemp("defences")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    rng = np.random.default_rng(0)
    files = [folder / f"{i}.png" for i in range(3)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    made = []

    def train(**settings):
        made.append(folder / str(len(made)))
        defaults = {"mode": "lora", "steps": 2, "batch": 2, "learning_rate": 1e-2, "prior_pictures": 2}
        finetune(folder / "base", files, made[-1], FinetuneConfig(**(defaults | settings)))
        return {f"{f.name}:{k}": v for f in sorted(made[-1].rglob("*.safetensors")) for k, v in load_file(f).items()}

    return train


@pytest.fixture(scope="module")
def plain(trained):
    return trained()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@every_defence
def test_a_fine_tuning_under_a_defence_runs_differs_and_repeats(trained, plain, defence):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    defended = trained(defence=defence)
    assert torch.equal(torch.get_rng_state(), state)
    assert defended.keys() == plain.keys() and not equal(defended, plain)
    if defence == "randaugment":
        torch.manual_seed(4)
        assert equal(trained(defence=defence), defended)


def test_the_same_seed_trains_the_same_weights_and_leaves_the_global_generator(trained, plain):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert equal(trained(), plain)
    assert torch.equal(torch.get_rng_state(), state)
    assert not equal(trained(seed=1), plain)


def test_only_training_pictures_are_augmented(trained, monkeypatch):
    """A defence that changes nothing trains as without one: pictures, times and noises are drawn alike."""
    seen = []
    monkeypatch.setattr(
        "cgidm.training.training_pictures.defend", lambda images, defence, g: seen.append(images) or images
    )
    untouched, plain = (trained(mode="dreambooth-prior", defence=d, learning_rate=1e-4) for d in ("flip", None))
    assert [len(images) for images in seen] == [2, 2]
    assert untouched.keys() == plain.keys()
    for key, weights in plain.items():
        torch.testing.assert_close(untouched[key], weights, rtol=1e-2, atol=1e-4)
