"""The answers about several suspects: corrected for all that were asked, and never better than alone."""

import numpy as np
import pytest

from cgidm.evidence.suspects.correction import (
    Answer,
    adjust,
    choose_first,
    correct_for_suspects,
    names_first_alone,
    smallest_p_value,
)
from cgidm.judging.portfolio import holm

CONSISTENT = "consistent with training on this image"


def outcome_of(p):
    return CONSISTENT if p <= 0.01 else "weak evidence" if p <= 0.05 else "cannot tell"


def corrected(*p_values, first=None):
    found = correct_for_suspects([Answer(outcome=outcome_of(p), p_value=p) for p in p_values], first)
    return [a.p_value for a in found], [a.outcome for a in found]


def test_holm_over_three_suspects():
    p_values, outcomes = corrected(0.3, 0.002, 0.02)
    assert p_values == pytest.approx([0.3, 0.006, 0.04])
    assert outcomes == ["cannot tell", CONSISTENT, "weak evidence"]


def test_what_is_consistent_alone_may_be_weak_or_nothing_among_many():
    assert corrected(0.008, 0.5)[1] == ["weak evidence", "cannot tell"]
    assert corrected(0.04, 0.5)[1] == ["cannot tell", "cannot tell"]
    assert corrected(*[0.008] + [0.9] * 6)[1][0] == "cannot tell"


def test_a_suspect_that_could_not_be_tested_counts_as_asked():
    silent = Answer(outcome="cannot tell", p_value=None)
    found = correct_for_suspects([Answer(outcome=CONSISTENT, p_value=0.004), silent, silent])
    assert found[0].p_value == pytest.approx(0.012) and found[0].outcome == "weak evidence"
    assert found[1] == found[2] == silent


def test_an_answer_that_is_not_positive_stays_as_it_is():
    """A small p-value of a suspect that does not know the picture better than its base is no evidence."""
    given = [Answer(outcome="no evidence", p_value=0.001), Answer(outcome="no evidence", p_value=0.4)]
    assert [a.outcome for a in correct_for_suspects(given)] == ["no evidence", "no evidence"]


def test_one_suspect_is_not_corrected():
    given = Answer(outcome="weak evidence", p_value=0.03)
    assert correct_for_suspects([given]) == (given,)


@pytest.mark.parametrize("same", [0.0, 0.9], ids=["different LoRAs", "versions of one"])
def test_naming_any_suspect_by_mistake_keeps_the_level(same):
    """10,000 unused pictures under eight suspects, whose p-values depend on each other or not."""
    g = np.random.default_rng(0)
    scores = same**0.5 * g.normal(size=(10_000, 1)) + (1 - same) ** 0.5 * g.normal(size=(10_000, 8))
    ranks = scores.argsort(0).argsort(0)
    p_values = 1 - ranks / len(scores)
    alone = (p_values <= 0.05).any(1).mean()
    named = np.mean([min(corrected(*row)[0]) <= 0.05 for row in p_values])
    strictly = np.mean([CONSISTENT in corrected(*row)[1] for row in p_values])
    assert alone > 0.07  # what asking eight times costs without a correction
    assert named <= 0.055 and strictly <= 0.0125


def test_the_suspect_that_is_tested_first_has_four_fifths_of_the_level():
    assert corrected(0.3, 0.02, 0.5, first=1)[0] == pytest.approx([0.6, 0.025, 0.6])
    assert corrected(0.3, 0.04, 0.5, first=1)[1][1] == "weak evidence"
    assert corrected(0.3, 0.041, 0.5, first=1)[1][1] == "cannot tell"
    assert corrected(0.008, 0.9, first=0)[1][0] == CONSISTENT and corrected(0.0081, 0.9, first=0)[1][0] != CONSISTENT


def test_another_suspect_than_the_first_is_named_by_a_smaller_p_value():
    """Each of two others has a tenth of the level, and half of it once the first one is named."""
    assert corrected(0.3, 0.005, 0.5, first=0)[1][1] == "weak evidence"
    assert corrected(0.3, 0.006, 0.5, first=0)[1][1] == "cannot tell"
    p_values, outcomes = corrected(0.001, 0.02, 0.5, first=0)
    assert p_values == pytest.approx([0.00125, 0.04, 0.5]) and outcomes[1] == "weak evidence"


def test_the_first_has_the_largest_contrast_and_none_is_first_where_one_is_not_known():
    assert choose_first([0.1, 0.3, -2.0]) == 1 and choose_first([-3.0, -1.0]) == 1
    assert choose_first([0.1, None]) is None and choose_first([0.1, float("nan")]) is None


def test_of_equal_contrasts_the_suspect_that_was_given_first_counts():
    assert choose_first([0.2, 0.2, 0.2]) == 0 and choose_first([0.2]) == 0 and choose_first([None]) is None


@pytest.mark.parametrize(("references", "suspects"), [(160, 2), (160, 3), (200, 3), (198, 3), (1040, 11), (1040, 12)])
def test_whether_few_references_can_name_another_suspect_than_the_first(references, suspects):
    """The least p-value that there is, of a suspect that is not tested first, while no other finds anything."""
    least = [1.0] * suspects
    least[-1] = 1 / (references + 1)
    named = corrected(*least, first=0)[0][-1] <= 0.05
    assert named is not names_first_alone(references, suspects)


def test_equal_weights_are_holms_procedure():
    g = np.random.default_rng(0)
    for _ in range(200):
        p_values = g.uniform(size=5) ** 2
        assert adjust(p_values.tolist(), [1.0] * 5) == pytest.approx(holm(p_values.tolist()))


@pytest.mark.parametrize("used", [False, True], ids=["nobody", "one of them"])
def test_an_order_that_says_nothing_of_the_scores_keeps_the_level(used):
    """10,000 pictures under three suspects. Where one of them knows them, a mistake is to name another one."""
    g = np.random.default_rng(1)
    p_values, contrasts = g.uniform(size=(10_000, 3)), g.normal((0.5, 0.0, 1.0), size=(10_000, 3))
    if used:
        p_values[:, 2] = 1e-4
    wrong = range(2 if used else 3)
    named = [
        any(corrected(*row, first=int(order.argmax()))[0][i] <= 0.05 for i in wrong)
        for row, order in zip(p_values, contrasts, strict=True)
    ]
    assert 0.02 < np.mean(named) <= 0.055


def test_few_reference_scores_cannot_answer_about_many():
    assert smallest_p_value(160, 8) <= 0.05 < smallest_p_value(160, 9)
    assert smallest_p_value(5, 20) == 1.0
    assert (
        smallest_p_value(24, 9, ordered=True) == pytest.approx(0.05) and smallest_p_value(160, 1, ordered=True) < 0.01
    )
