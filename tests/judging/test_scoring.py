"""Which noise a score meets: its pictures' files must not choose it."""

from dataclasses import replace

import torch

from cgidm.judging.banks.null_bank import open_bank
from cgidm.judging.scoring import score_controls, score_views
from cgidm.method.config import RunConfig
from cgidm.pictures.images import Picture
from cgidm.run.plan import RunRequest
from tests.support.paths import ASSETS
from tests.support.worlds import world

CONFIG = RunConfig(loss_draws=4, views=("as given", "mirrored"))


def saved_twice():
    """A pair of models, and two files of the same pixels."""
    pair, (image, *_), _ = world(0, channels=3)
    return pair, [Picture(name, name * 64, image) for name in "ab"]


def test_a_file_saved_anew_has_the_same_scores():
    pair, files = saved_twice()
    first, second = score_views(pair, files, CONFIG).T
    assert torch.equal(first, second) and len(set(first.tolist())) == len(CONFIG.views)
    assert len(set(score_controls(pair, files, CONFIG))) == 1


def test_another_seed_is_no_second_chance_and_another_suspect_meets_other_noise():
    pair, files = saved_twice()
    other = replace(pair, fingerprints={"suspect/weights": "f" * 64})
    first, reseeded = (score_views(pair, files, replace(CONFIG, seed=seed)) for seed in (0, 1))
    assert torch.equal(first, reseeded)
    assert not torch.isclose(first, score_views(other, files, CONFIG)).any()
    renamed = replace(other, fingerprints={"another name": "f" * 64})
    assert torch.equal(score_views(renamed, files, CONFIG), score_views(other, files, CONFIG))


def test_a_record_from_before_is_repeated_with_the_noise_of_each_file():
    pair, files = saved_twice()
    first, second = score_views(pair, files, replace(CONFIG, score_noise="own")).T
    assert not torch.isclose(first, second).any()


def test_against_a_bank_each_file_has_the_noise_that_the_bank_s_models_scored_it_with():
    _, files = saved_twice()
    bank = open_bank(ASSETS / "banks" / "rollandin-lora")
    assert RunRequest(pictures=files, config=CONFIG, bank=bank).config == replace(CONFIG, score_noise="own")
    assert RunRequest(pictures=files, config=CONFIG).config == CONFIG
