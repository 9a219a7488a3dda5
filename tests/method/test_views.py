"""Views of a picture, the search over them, and how copies are judged."""

import dataclasses

import numpy as np
import pytest
import torch

from cgidm.conductor import authenticate
from cgidm.judging.scoring import score_controls, score_views
from cgidm.judging.verdict import conformal_p_value
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.method.views import AS_GIVEN, VIEWS
from eval.studies.robustness import TRANSFORMATIONS, copy_of, judge_copies, perturb, robustness_table
from tests.support.errors import refuses
from tests.support.pictures import pair_that_learnt, picture, square
from tests.support.worlds import SIDE

SHORT = RecoveryConfig(steps=2)
EVERY = tuple(VIEWS)


@pytest.mark.parametrize("name", EVERY)
def test_a_view_is_another_picture_of_the_same_kind_and_leaves_its_own_alone(name):
    image = square()
    before = image.clone()
    seen = VIEWS[name](image)
    assert seen.shape == image.shape and seen.dtype == image.dtype and 0 <= seen.min() and seen.max() <= 1
    assert torch.equal(image, before) and torch.equal(VIEWS[name](image), seen)
    assert torch.equal(seen, image) == (name == AS_GIVEN)
    assert name == "mirrored" or (seen - image).abs().mean() < 0.1


def test_what_each_view_does():
    image = square()
    assert torch.equal(VIEWS["mirrored"](VIEWS["mirrored"](image)), image)
    again = VIEWS["cropped"](VIEWS["widened"](image))
    assert (again - image).abs().mean() < 0.02 < (VIEWS["cropped"](image) - image).abs().mean()
    noisy = perturb(image)
    assert (VIEWS["smoothed"](noisy) - image).abs().mean() < 0.7 * (noisy - image).abs().mean()
    assert (noisy - image).abs().max() <= 8 / 255 + 1e-6 and torch.equal(noisy, perturb(image))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [(("upside down",), "unknown_view"), ((), "no_view"), (("mirrored", "mirrored"), "repeated_view")],
)
def test_views_that_cannot_be_are_refused(wrong, code):
    with refuses(f"method.{code}", accepted=list(VIEWS)):
        RunConfig(views=wrong)


def test_views_read_back_from_a_record_are_the_same_configuration():
    config = RunConfig(views=EVERY)
    assert dataclasses.replace(config, views=list(EVERY)) == config


@pytest.fixture(scope="module")
def pair():
    """The suspect has learnt mirrored copies of the first four pictures."""
    return pair_that_learnt([VIEWS["mirrored"](square(i, SIDE)) for i in range(4)])


def test_a_search_finds_the_view_that_was_trained_on_and_controls_are_searched_alike(pair):
    members, controls = [picture(i) for i in range(4)], [picture(2000 + i) for i in range(19)]
    plain, searching = (RunConfig(recovery=SHORT, views=views) for views in ((AS_GIVEN,), EVERY))
    without, found = (authenticate(pair, members, controls, config=c) for c in (plain, searching))
    assert [r.view for r in found.pictures] == ["mirrored"] * 4 and {r.view for r in without.pictures} == {AS_GIVEN}
    assert {r.verdict.p_value for r in found.pictures} == {1 / 20}
    assert max(r.verdict.p_value for r in without.pictures) > 1 / 20
    assert found.control_scores == pytest.approx(score_views(pair, controls, searching).amax(0).tolist())
    assert all(a >= b for a, b in zip(found.control_scores, without.control_scores, strict=True))
    for a, b in zip(found.pictures, without.pictures, strict=True):  # the recovery is that of the picture as given
        assert torch.equal(a.recovered, b.recovered)
        assert a.scores["removed_alignment"] == b.scores["removed_alignment"]


def test_what_a_view_gives_does_not_depend_on_the_other_views_or_pictures(pair):
    pictures = [picture(i) for i in range(3)]
    table = score_views(pair, pictures, RunConfig(views=EVERY))
    for row, name in zip(table, EVERY, strict=True):
        alone = score_views(pair, pictures[1:2], RunConfig(views=(name,)))
        torch.testing.assert_close(alone[0, 0], row[1])
    assert score_controls(pair, pictures, RunConfig()) == pytest.approx(table[0].tolist())


def test_the_largest_of_many_views_keeps_the_error_rate():
    """Whatever the views have in common: picture and controls have as many tries."""
    rng = np.random.default_rng(0)
    scores = (rng.normal(size=(7, 4000, 20)) + 2 * rng.normal(size=(1, 4000, 20))).max(0)
    p = [conformal_p_value(s[0], s[1:].tolist()) for s in scores]
    assert 0.035 < np.mean(np.array(p) <= 0.05) < 0.065


def test_copies_are_judged_with_and_without_the_search():
    views = len(VIEWS)
    controls = np.tile(np.linspace(-1, 0, 40), (views, 1))
    members, holdouts = np.full((views, 3), -0.5), np.full((views, 2), -0.5)
    members[0, 0] = members[1, 1] = 0.5
    found = judge_copies(members, holdouts, controls)
    assert [found[how]["members_found"] for how in ("without", "with")] == [1, 2]
    assert [found[how]["holdouts_called"] for how in ("without", "with")] == [0, 0]
    assert found["best_views_of_members"] == {AS_GIVEN: 2, "mirrored": 1}
    suspect = {"controls": 40, "transformations": dict.fromkeys(TRANSFORMATIONS, found)}
    text = robustness_table({"level": 0.05, "views": EVERY, "suspects": {"a": suspect, "b": suspect}})
    assert "| flipped | 2 of 6 | 4 of 6 | 0 of 4 | 0 of 4 |" in text and "| flipped | as given 4, mirrored 2 |" in text


def test_a_copy_has_bytes_of_its_own():
    original = picture(0, 40)
    copies = [copy_of(original, make) for make in TRANSFORMATIONS.values()]
    assert len({c.sha256 for c in copies}) == len(copies) and original.sha256 not in {c.sha256 for c in copies}
    assert torch.equal(copies[0].image, original.image)
