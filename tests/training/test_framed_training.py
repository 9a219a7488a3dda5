"""A fine-tuning in aspect-ratio buckets."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from cgidm.errors import UserError
from cgidm.training import trainer, training_pictures
from cgidm.training.recipe import TrainingRecipe
from cgidm.training.trainer import FinetuneConfig, finetune
from tests.support import tiny

BUCKETS = {"rule": "kohya", "resolution": [64, 64], "least_side": 32, "most_side": 128, "step": 16}
SIZES = ((80, 120), (120, 80), (90, 90), (160, 240))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("framed")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    for i, size in enumerate(SIZES):
        noise = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def seen(monkeypatch):
    """The latents of every step."""
    shapes = []
    loss = trainer.denoising_loss

    def look(trainee, z, *more):
        shapes.append(tuple(z.shape))
        return loss(trainee, z, *more)

    monkeypatch.setattr(trainer, "denoising_loss", look)
    return shapes


def train(folder, out, **settings):
    config = FinetuneConfig(**({"mode": "lora", "steps": 60, "batch": 2, "learning_rate": 1e-3} | settings))
    finetune(folder / "base", [folder / f"{i}.png" for i in range(len(SIZES))], out, config)


@pytest.mark.slow
def test_every_step_has_pictures_of_one_bucket_and_each_picture_comes_as_often(folder, seen, tmp_path):
    train(folder, tmp_path / "out", framing=BUCKETS)
    assert set(seen) == {(2, 4, 10, 6), (2, 4, 6, 10), (2, 4, 8, 8)}
    upright = seen.count((2, 4, 10, 6))
    assert 20 <= upright <= 40, "two of four pictures are upright"


def test_without_a_framing_there_are_centre_squares(folder, seen, tmp_path):
    train(folder, tmp_path / "out", steps=3)
    assert seen == [(2, 4, 8, 8)] * 3


def test_the_draws_of_pictures_of_one_size_are_as_before_there_were_buckets():
    draw = training_pictures._drawer([(8, 8)] * 5, 4)
    expected = torch.randint(5, (4,), generator=torch.Generator().manual_seed(3)).tolist()
    assert draw(torch.Generator().manual_seed(3)) == expected


def test_a_recipe_refuses_what_is_no_framing():
    assert TrainingRecipe(mode="lora", framing=BUCKETS).framing == BUCKETS
    with pytest.raises((UserError, ValidationError)):
        TrainingRecipe(mode="lora", framing={"rule": "hello"})
