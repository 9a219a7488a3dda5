"""Banks of suspects that learnt pictures of several hands, with captions."""

import numpy as np
import pytest
from PIL import Image

from cgidm.training.null_models import BankPlan
from cgidm.training.recipe import TrainingRecipe
from tests.support.errors import refuses

TRAINING = TrainingRecipe(mode="lora", steps_per_picture=10, batch=2)


@pytest.fixture
def place(tmp_path):
    for folder, count in (("works", 8), ("others", 6)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            noise = np.random.default_rng([i, count]).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / folder / f"{i}.png")
    return tmp_path


def plan(place, **more):
    return BankPlan(base="x", folders=(place / "works",), models=10, out=place / "bank", **more)


@pytest.mark.parametrize(("images", "others"), [(None, 6), (9, 5), (100, 6), (4, 0), (2, 0)])
def test_models_are_trained_on_pictures_of_other_hands_in_the_suspect_s_number(place, images, others):
    bank = plan(place, fillers=place / "others", images=images)
    pictures = bank.find_pictures()
    assert len(pictures) == 8, "they are not scored"
    models = list(bank.plan_models(TRAINING, pictures))
    works = {p.sha256 for p in pictures}
    for model in models:
        own = [p for p in model.pictures if p.sha256 in works]
        assert len(own) == min(4, images or 4) and len(model.pictures) - len(own) == others
        assert model.config.steps == 10 * len(model.pictures) // 2
    if others == 5:
        assert len({model.pictures[4:] for model in models}) > 1, "each model draws its own"


def test_a_picture_in_question_is_no_filler(place):
    bank = plan(place, fillers=place / "works")
    assert bank.find_fillers(bank.find_pictures()) == []


def test_captions_stand_beside_the_pictures_those_of_fillers_too(place):
    bank = plan(place, fillers=place / "others", captions=True)
    pictures = bank.find_pictures()
    with refuses("training.no_caption"):
        next(bank.plan_models(TRAINING, pictures))
    for file in [*place.glob("*/*.png")]:
        file.with_suffix(".txt").write_text(f"{file.parent.name} {file.stem}")
    model = next(bank.plan_models(TRAINING, pictures))
    expected = tuple(" ".join(p.file.rpartition(".")[0].split("/")[-2:]) for p in model.pictures)
    assert model.config.captions == expected


def test_captions_of_tags_follow_the_picture_not_the_model(place):
    training = TrainingRecipe(mode="lora", tags=(("sky", 0.5), ("tree", 0.5)))
    bank = plan(place)
    pictures = bank.find_pictures()
    captions: dict[str, set[str]] = {}
    for model in bank.plan_models(training, pictures):
        for picture, caption in zip(model.pictures, model.config.captions, strict=True):
            captions.setdefault(picture.sha256, set()).add(caption)
    assert len(captions) == 8 and all(len(found) == 1 for found in captions.values())
    assert len(set.union(*captions.values())) > 1
