"""The answers about several suspects: corrected for all that were asked, and never better than alone."""

import numpy as np
import pytest

from cgidm.evidence.suspects.correction import Answer, correct_for_suspects, smallest_p_value

CONSISTENT = "consistent with training on this image"


def outcome_of(p):
    return CONSISTENT if p <= 0.01 else "weak evidence" if p <= 0.05 else "cannot tell"


def corrected(*p_values):
    found = correct_for_suspects([Answer(outcome=outcome_of(p), p_value=p) for p in p_values])
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


def test_few_reference_scores_cannot_answer_about_many():
    assert smallest_p_value(160, 8) <= 0.05 < smallest_p_value(160, 9)
    assert smallest_p_value(5, 20) == 1.0
