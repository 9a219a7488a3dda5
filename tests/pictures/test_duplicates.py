"""Near-duplicates among what was handed over: named, counted once, and never a control of themselves."""

from dataclasses import replace

import imagehash
import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import to_pil_image

from cgidm.conductor import authenticate
from cgidm.judging.portfolio import judge_set
from cgidm.messages import Note
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.method.views import VIEWS
from cgidm.page.handlers.request import make_request
from cgidm.page.runs import store as visit
from cgidm.page.runs.model_cache import shipped_controls
from cgidm.page.runs.runner import execute_run
from cgidm.pictures.duplicates import copy_notes, group_notes, near_duplicates, perceptual_hash, representatives
from cgidm.pictures.images import Picture
from eval.benchmark.duplicates import find_near_duplicates, hash_rule
from tests.support.pictures import pair_that_learnt, picture, square

CONFIG = RunConfig(recovery=RecoveryConfig(steps=2))


def brighter(image):
    return (image * 1.03).clamp(0, 1)


def one_with(*names):
    return Note("pictures.counts_as_one_with", {"names": list(names)})


def copy_of(name):
    return Note("pictures.copy_of_control", {"name": name})


def test_the_hash_is_that_of_the_known_package():
    for seed in range(20):
        image = square(seed, 64)
        np.testing.assert_array_equal(perceptual_hash(image), imagehash.phash(to_pil_image(image)).hash.ravel())


def test_encodings_sizes_and_slight_edits_are_alike_and_other_pictures_are_not():
    image = square(0, 64)
    edits = [VIEWS["jpeg"](image), VIEWS["resized"](image), VIEWS["smoothed"](image), brighter(image)]
    small = torch.nn.functional.interpolate(image[None], (40, 40), mode="area")[0]
    assert near_duplicates([image], [*edits, small]).all()
    others = [square(seed, 64) for seed in range(1, 20)]
    assert not near_duplicates([image], others).any() and near_duplicates([], others).shape == (0, 19)


def test_the_first_counts_and_what_resembles_only_another_s_copy_stays():
    table = np.eye(4, dtype=bool)
    table[0, 1] = table[1, 0] = table[1, 2] = table[2, 1] = True  # a chain: 0 - 1 - 2, and 3 alone
    assert representatives(table) == [0, 0, 2, 3] and representatives(np.ones((3, 3), dtype=bool)) == [0, 0, 0]
    notes = group_notes(["a", "b", "c", "d"], [0, 0, 0, 3])
    assert notes[0] == (one_with("b", "c"),) and notes[2] == (one_with("a", "b"),) and notes[3] == ()
    assert str(notes[0][0]).startswith("Near-duplicate of b, c.")
    assert copy_notes(["x", "y"]) == (copy_of("x"), copy_of("y"))


def test_the_benchmark_drops_by_the_same_rule(tmp_path):
    for name, image in (("a", square(0, 64)), ("b", brighter(square(0, 64))), ("c", square(1, 64))):
        to_pil_image(image).save(tmp_path / f"{name}.png")
    a, b, c = (tmp_path / f"{name}.png" for name in "abc")
    for first, second in ((a, b), (b, a)):
        assert find_near_duplicates([first, second, c], hash_rule()) == {second: first}


@pytest.fixture(scope="module")
def pair():
    return pair_that_learnt([picture(i).image for i in (0, 1, 103)])


def test_near_duplicates_are_named_and_count_once_in_the_set(pair):
    one, other = picture(0), picture(1)
    again = Picture("folder/again.png", "f" * 64, brighter(one.image))
    controls = [picture(100 + i) for i in range(25)]
    result = authenticate(pair, [one, other, again], controls, config=CONFIG)
    assert [r.picture.notes for r in result.pictures] == [(one_with("again.png"),), (), (one_with("0.png"),)]
    assert all(r.flags == () and r.verdict.p_value is not None for r in result.pictures)
    scores = [r.scores["loss_contrast"] for r in result.pictures]
    assert result.together is not None and result.together.pictures == 2
    expected = judge_set(scores[:2], result.control_scores, [])
    assert (result.together.outcome, result.together.p_value) == (expected.outcome, expected.p_value)


def test_which_one_counts_is_settled_by_the_order_and_not_by_the_score(pair):
    one = picture(0)
    again = Picture("again.png", "f" * 64, brighter(one.image))
    controls = [picture(100 + i) for i in range(25)]
    for given in ([one, again, picture(1)], [again, one, picture(1)]):
        result = authenticate(pair, given, controls, config=CONFIG)
        counted = [result.pictures[i].scores["loss_contrast"] for i in (0, 2)]
        assert result.together is not None
        assert result.together.p_value == judge_set(counted, result.control_scores, []).p_value


def test_a_copy_of_a_control_is_named_and_that_control_is_not_used(pair):
    controls = [picture(100 + i) for i in range(20)]
    asked = replace(picture(103), name="mine.png", sha256="e" * 64, image=brighter(picture(103).image))
    other = picture(0)
    result = authenticate(pair, [asked, other], controls, config=CONFIG)
    assert [c.name for c in result.controls] == [c.name for c in controls if c.name != "103.png"]
    assert len(result.control_scores) == 19 and result.pictures[0].verdict.controls == 19
    assert result.pictures[0].picture.notes == (copy_of("103.png"),)
    assert result.pictures[1].picture.notes == () and result.pictures[0].verdict.p_value is not None
    without = authenticate(pair, [asked, other], [c for c in controls if c.name != "103.png"], config=CONFIG)
    assert without.control_scores == result.control_scores


@pytest.mark.usefixtures("few_draws", "without_pages")
def test_the_page_sets_the_same_controls_aside_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "ROOT", tmp_path / "visits")
    copied, *_ = controls = shipped_controls("rollandin-lora")
    form = {
        "picture": str(copied),
        "controls": [str(c) for c in controls],
        "suspect": "shipped:rollandin-lora",
        "base": "shipped:mini",
    }
    run = make_request({**form, "preset": "fast", "seed": 0, "steps": 1}).begin(visit.Visit())
    assert [event.phase for event in execute_run(run)][-1] == "finished"
    record = run.record()
    assert copied.name not in {c.name for c in record.controls} and len(record.controls) == 39
    assert len(record.control_scores) == 39
    assert record.pictures[0].notes[-1] == copy_of(copied.name)


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (60, 48)])
def test_a_picture_and_its_centre_square_are_alike(shape):
    """The copy on the web is often the square."""
    wholes, squares = [], []
    for seed in range(12):
        image = torch.nn.functional.interpolate(square(seed)[None], shape, mode="bilinear")[0]
        short, (height, width) = min(shape), shape
        top, left = (height - short) // 2, (width - short) // 2
        wholes.append(image)
        squares.append(image[:, top : top + short, left : left + short])
    table = near_duplicates(wholes, squares)
    assert table.diagonal().all() and table.sum() == 12 and (near_duplicates(squares, wholes) == table.T).all()
