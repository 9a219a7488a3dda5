"""How much likelier a score is of a used picture: the table, how it is looked up, and when nothing is stated."""

import json
from math import exp

import numpy as np
import pytest
import torch

from cgidm.judging.judge_pictures import judge_pictures
from cgidm.judging.mirror_test import MirrorReference
from cgidm.judging.result import MeasuredPicture
from cgidm.judging.tables.likelihood_ratio import (
    TABLE,
    LikelihoodTable,
    SuspectLikelihood,
    find_likelihood,
    regressors,
)
from cgidm.pictures.images import Picture
from cgidm.resources import resource_root
from tests.support.errors import refuses


def table(**changes):
    facts = {
        "base": ("a",),
        "draws": 24,
        "distances": (0.01, 0.1),
        "highest_unused": 2.0,
        "coefficients": (-1.0, 2.0, 0.0, 0.0),
        "resampled": tuple((-1.0 - 0.01 * i, 2.0, 0.0, 0.0) for i in range(100)),
    }
    return LikelihoodTable(**(facts | changes))


def test_a_ratio_grows_with_the_score_up_to_the_highest_unused_one():
    ratios = [table().ratio(score, 0.05).ratio for score in (0.0, 0.5, 1.0, 2.0, 9.0)]
    assert ratios == pytest.approx([exp(-1), 1.0, exp(1), exp(3), exp(3)])


def test_beside_it_stands_a_low_quantile_over_artists():
    found = table().ratio(1.0, 0.05)
    assert found.low == pytest.approx(exp(1 - 0.99 * 0.95)) and found.low < found.ratio


def test_the_distance_of_a_suspect_decides_how_much_a_score_is_worth():
    depends = table(coefficients=(0.0, 5.0, 0.0, 1.0))
    weak, strong, stronger = (depends.ratio(1.0, d).ratio for d in (0.01, 0.1, 3.0))
    assert weak < strong == stronger
    assert depends.ratio(1.0, 0.009) is None and depends.ratio(1.0, float("nan")) is None


def test_what_does_not_speak_for_training_is_not_stated():
    suspect = SuspectLikelihood(table(), 0.05)
    assert suspect.ratio(0.49) is None and suspect.ratio(0.51) is None  # with other artists it would be below 1
    stated = suspect.ratio(1.1)
    assert stated is not None and stated.ratio > stated.low > 1


def test_the_table_is_that_of_the_base_and_of_its_draws(tmp_path):
    (tmp_path / TABLE).write_text(json.dumps([table().model_dump()]))
    given = (["b", "a"], 24, [0.02, 0.04], None)
    assert find_likelihood(*given, folder=tmp_path) == SuspectLikelihood(table(), 0.03)
    full, few = (["a"], 24, [0.02], 0.3), (["a"], 12, [0.02], None)
    for other in ((["b"], 24, [0.02], None), few, (["a"], 24, [], None), full):
        assert find_likelihood(*other, folder=tmp_path) is None
    for unlike in ({"prompts": 2}, {"others": 1}, {"unused": 1}):
        assert find_likelihood(*given, **unlike, folder=tmp_path) is None
    (tmp_path / TABLE).write_text("[{}]")
    with refuses("judging.damaged_likelihood_table", file=TABLE):
        find_likelihood(*given, folder=tmp_path)


def judged_by_mirror(score, mirror, likelihood, inner=None):
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    scores = {"mirror": score} if inner is None else {"mirror": score, "mirror_of_square": inner}
    images = {"partial": image, "recovered": image, "contrast": ()}
    measured = MeasuredPicture(picture=Picture("a.png", "0" * 64, image), scores=scores, flags=(), **images)
    ((judged,), _) = judge_pictures([measured], (), mirror=mirror, likelihood=likelihood)
    return judged


def test_a_picture_has_a_ratio_where_the_test_compared_it_with_a_table_in_one_framing():
    reference = MirrorReference("table", tuple(0.01 * i for i in range(99)), 0.2, 9)
    likelihood = SuspectLikelihood(table(), 0.05)
    assert judged_by_mirror(1.5, reference, likelihood).likelihood.ratio == pytest.approx(exp(2))
    elsewhere = MirrorReference("pictures", reference.scores, 0.2, 9)
    assert judged_by_mirror(1.5, elsewhere, likelihood).likelihood is None
    assert judged_by_mirror(1.5, reference, likelihood, inner=1.4).likelihood is None
    assert judged_by_mirror(0.1, reference, likelihood).likelihood is None
    assert judged_by_mirror(1.5, reference, None).likelihood is None


def test_the_shipped_table_is_that_of_the_shipped_base():
    answer = json.loads((next((resource_root() / "answers" / "rollandin-lora").rglob("result.json"))).read_text())
    weights = list(answer["models"]["sha256"].values())
    found, weak = (find_likelihood(weights, 24, [distance], None) for distance in (0.03, 0.005))
    assert found is not None and found.ratio(1.5).ratio > 10 > found.ratio(1.0).ratio > 1
    # strong suspects score their used pictures far higher, so a middling score speaks for a weak one rather
    assert weak is not None and weak.ratio(1.8).ratio < found.ratio(1.8).ratio
    assert weak.ratio(1.0).ratio > found.ratio(1.0).ratio
    assert len(found.table.resampled) == 200
    assert (np.array(found.table.resampled) @ regressors(1.5, 0.03) > 0).all()
