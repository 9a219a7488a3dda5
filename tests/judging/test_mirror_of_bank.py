"""The mirror test against a bank: what is taken off a score, whose scores it is compared with, and its level."""

import json

import numpy as np
import pytest

from cgidm.judging.banks.mirror_nulls import SHARED, UnusedScores, shrunken_residual, unused_scores
from cgidm.judging.banks.null_bank import Bank, NullBank
from cgidm.judging.banks.residuals import bank_power, combined_power
from cgidm.judging.mirror_choice import comparable_scores, mirror_reference
from cgidm.judging.mirror_test import LEAST_REFERENCES, MirrorReference, bank_reference, find_mirror_table
from cgidm.judging.verdict import Witness, combine, judge
from cgidm.messages import note
from cgidm.resources import base_folder
from cgidm.training.trained_model import weight_digests

DRAWS, PICTURES, MODELS = 24, 16, 8
BASE = {name: name for name in weight_digests(str(base_folder()))}
SHIPPED = find_mirror_table(BASE, DRAWS)
assert SHIPPED is not None
TABLE = SHIPPED.reference


def sha(i):
    return f"{i:064d}"


def halves(rng):
    """Which pictures each model is trained on: the two halves of one random split after another."""
    for _ in range(MODELS // 2):
        order = rng.permutation(PICTURES).tolist()
        yield from (sorted(order[: PICTURES // 2]), sorted(order[PICTURES // 2 :]))


def scores_of(rng, trained, difficulty, style=0.0, learnt=2.0, shared=SHARED):
    """A model's scores: of each picture its own part, the model's and noise, which correlate by `shared`."""
    noise = rng.normal(0, 0.4 * (1 - shared) ** 0.5, PICTURES)
    return difficulty + style + noise + learnt * np.isin(np.arange(PICTURES), trained)


def made_bank(rng, difficulty, mirror_draws=DRAWS, shift=0.02, shared=SHARED, **changes):
    models = [
        {
            "folder": str(n),
            "sha256": {},
            "trained_on": half,
            "scores": (scores_of(rng, half, 0.0) / 100).tolist(),
            "shift": [shift] * PICTURES,
            "mirror_scores": scores_of(rng, half, difficulty, shared=shared).tolist() if mirror_draws else [],
        }
        for n, half in enumerate(halves(rng))
    ]
    facts = {"format": 3, "base": sorted(BASE), "prompt": "sks", "recipe": {}, "loss_draws": 20, "seed": 0}
    pictures = [{"name": f"{i}.png", "sha256": sha(i)} for i in range(PICTURES)]
    made = facts | {"mirror_draws": mirror_draws, "pictures": pictures, "models": models} | changes
    return NullBank.model_validate_json(json.dumps(made))


def drawn(seed, shared=SHARED, **changes):
    """A bank, and each picture's own part."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0.3, 0.4 * shared**0.5, PICTURES)  # of a style with a handedness
    return rng, difficulty, made_bank(rng, difficulty, shared=shared, **changes)


def known(bank):
    found = unused_scores(bank, DRAWS)
    assert found is not None
    return found


def test_a_residual_is_the_same_whatever_is_added_to_all_scores():
    for others in ([], [0.4], [0.4, -0.2, 0.1]):
        own = shrunken_residual(1.0, others, 0.2)
        assert shrunken_residual(6.0, [o + 5 for o in others], 5.2) == pytest.approx(own)
    assert shrunken_residual(1.0, [], 0.2) == pytest.approx(0.8), "only the artist's mean is known"
    assert shrunken_residual(1.0, [1.0] * 4, 0.2) < shrunken_residual(1.0, [0.2] * 4, 0.2)


@pytest.mark.parametrize("k", [0, 1, 2, 4, 8])
def test_residuals_scatter_alike_however_many_models_left_the_picture_out(k):
    rng = np.random.default_rng(k)
    own = rng.normal(0, SHARED**0.5, 20_000)[:, None] + rng.normal(0, (1 - SHARED) ** 0.5, (20_000, k + 1))
    found = [shrunken_residual(s[0], s[1:].tolist(), 0.0) for s in own]
    assert np.std(found) == pytest.approx(1, abs=0.02) and np.mean(found) == pytest.approx(0, abs=0.03)


def test_only_scores_of_pictures_that_a_model_left_out_are_null_scores():
    _, _, bank = drawn(0)
    found = known(bank)
    for model, scores in zip(bank.models, found.by_model, strict=True):
        assert scores == {sha(i): s for i, s in enumerate(model.mirror_scores) if i not in model.trained_on}
    assert sum(map(len, found.nulls)) == MODELS * PICTURES // 2
    first = {sha(0): 0.1, sha(1): 0.3}
    two = UnusedScores((first, {sha(0): 0.5}))
    assert two.mean == pytest.approx(0.3)
    assert two.nulls[0] == (shrunken_residual(0.1, [0.5], 0.3), shrunken_residual(0.3, [], 0.3))


def test_a_picture_that_is_its_own_mirror_image_has_no_null_scores():
    _, _, bank = drawn(0)
    models = [m.model_copy(update={"mirror_scores": (None, *m.mirror_scores[1:])}) for m in bank.models]
    found = known(bank.model_copy(update={"models": tuple(models)}))
    assert all(sha(0) not in scores for scores in found.by_model)


def test_no_scores_are_read_of_other_draws_of_decoys_or_of_an_older_bank():
    _, _, bank = drawn(0)
    assert unused_scores(bank, DRAWS + 2) is None and unused_scores(bank, 0) is None
    assert unused_scores(bank.model_copy(update={"decoys": True}), DRAWS) is None
    assert unused_scores(drawn(0, mirror_draws=0)[2], DRAWS) is None


def test_the_bank_answers_before_any_table_and_flips_before_it():
    found = mirror_reference(BASE, None, DRAWS, [0.1] * 160, unused=known(drawn(0)[2]))
    assert isinstance(found, MirrorReference)
    assert found.source == "bank" and found.artists == TABLE.artists and found.allowance == 0
    assert len(found.scores) == len(TABLE.scores), "the table's scores, moved and scaled"
    own = [r for of_model in known(drawn(0)[2]).nulls for r in of_model]
    assert np.mean(found.scores) == pytest.approx(np.mean(own)) and found.spread == pytest.approx(np.std(own, ddof=1))
    scores = [0.1 * i for i in range(160)]
    pictures = mirror_reference({"other": "f" * 64}, None, DRAWS, scores, unused=known(drawn(0)[2]))
    assert isinstance(pictures, MirrorReference) and pictures.source == "bank" and len(pictures.scores) == 160
    elsewhere = mirror_reference({"other": "f" * 64}, None, DRAWS, [], unused=known(drawn(0)[2]))
    assert isinstance(elsewhere, MirrorReference) and elsewhere.source == "bank"
    assert sorted(elsewhere.scores) == pytest.approx(sorted(own)) and elsewhere.artists == MODELS, "without a table"
    flipped = mirror_reference(BASE, True, DRAWS, [], unused=known(drawn(0)[2]))
    assert flipped == note("judging.mirror.flips")


def test_too_few_scores_leave_the_table_to_answer():
    few = UnusedScores(tuple({sha(i): 0.1 * i} for i in range(LEAST_REFERENCES - 1)))
    found = mirror_reference(BASE, None, DRAWS, [], unused=few)
    assert isinstance(found, MirrorReference) and found.source == "table"
    equal = UnusedScores(tuple({sha(i): 0.1} for i in range(LEAST_REFERENCES + 1)))
    found = mirror_reference(BASE, None, DRAWS, [], unused=equal)
    assert isinstance(found, MirrorReference) and found.source == "table", "scores without a spread show nothing"


def test_a_bank_that_moved_otherwise_than_the_suspect_has_no_say():
    _, _, content = drawn(0)
    bank = Bank(content, "bank", b"")
    near, far = {sha(0): 0.02}, {sha(0): 0.04}
    assert comparable_scores(bank, DRAWS, near, None) is not None
    assert comparable_scores(bank, DRAWS, far, None) is None and comparable_scores(None, DRAWS, near, None) is None
    assert comparable_scores(bank, DRAWS, {}, None) is None


def test_a_bank_that_lacks_a_picture_in_question_has_no_say():
    """A file that was saved anew, or another artist's: nothing tells its own handedness."""
    _, _, content = drawn(0)
    bank, other = Bank(content, "bank", b""), "f" * 64
    for unknown in ({other: 0.02}, {sha(0): 0.02, other: 0.02}):
        assert comparable_scores(bank, DRAWS, unknown, None) is None
    symmetric = [m.model_copy(update={"mirror_scores": (None, *m.mirror_scores[1:])}) for m in content.models]
    bank = Bank(content.model_copy(update={"models": tuple(symmetric)}), "bank", b"")
    found = comparable_scores(bank, DRAWS, {sha(0): 0.02, sha(1): 0.02}, None)
    assert found is not None and found.symmetric == {sha(0)}, "nobody asks the test of it"


@pytest.mark.parametrize("shared", [0.3, SHARED, 0.7])
@pytest.mark.parametrize("table", [TABLE, None], ids=["with a table", "without"])
def test_unused_pictures_are_called_as_often_as_stated_and_used_ones_more_often_than_by_the_table(table, shared):
    p_values, by_table = {0: [], 1: []}, {0: [], 1: []}
    for seed in range(100):
        rng, difficulty, bank = drawn(seed, shared)
        reference = bank_reference(known(bank), table)
        half = rng.permutation(PICTURES)[: PICTURES // 2]
        scores = scores_of(rng, half, difficulty, learnt=1.0, shared=shared).tolist()
        for i, score in enumerate(scores):
            member = int(i in half)
            p_values[member].append(reference.ask(score, sha(i)).p_value)
            by_table[member].append(TABLE.ask(score, sha(i)).p_value)
    called = {member: np.mean(np.array(p) <= 0.05) for member, p in p_values.items()}
    assert 0.03 <= called[0] <= 0.065, "800 pictures"
    assert called[1] > 0.7
    if table is not None:
        assert np.mean(np.array(p_values[0]) <= 0.01) <= 0.015
        of_table = {member: np.mean(np.array(p) <= 0.05) for member, p in by_table.items()}
        assert called[1] > of_table[1] + 0.05
        assert called[0] < of_table[0], "a style with a handedness"
    else:
        assert min(p_values[1]) == pytest.approx(1 / (MODELS * PICTURES // 2 + 1))


@pytest.mark.parametrize("table", [TABLE, None], ids=["with a table", "without"])
def test_a_set_is_called_as_often_as_stated_though_each_model_learnt_the_style_in_its_own_way(table):
    called = {0: [], 1: []}
    for seed in range(200):
        rng, difficulty, bank = drawn(seed)
        reference = bank_reference(known(bank), table)
        half = rng.permutation(PICTURES)[: PICTURES // 2].tolist()
        scores = scores_of(rng, half, difficulty, style=rng.normal(0, 0.08), learnt=1.0)
        for member, some in ((1, half), (0, [i for i in range(PICTURES) if i not in half])):
            p = reference.ask_set([scores[i] for i in some], [sha(i) for i in some]).p_value
            called[member].append(p is not None and p <= 0.05)
    assert np.mean(called[0]) <= 0.08 and np.mean(called[1]) > 0.9


def test_the_power_of_both_is_counted_among_the_banks_own_members():
    _, _, bank = drawn(3)
    found = combined_power(bank, bank_reference(known(bank), TABLE))
    assert found is not None and found == pytest.approx(1.0)
    rng = np.random.default_rng(9)
    chance = [m.model_copy(update={"scores": tuple(scores_of(rng, [], 1.0).tolist())}) for m in bank.models]
    weak = bank.model_copy(update={"models": tuple(chance)})
    alone, both = bank_power(weak), combined_power(weak, bank_reference(known(weak), TABLE))
    assert alone is not None and both is not None and alone < 0.2 < 0.6 < both


def test_both_tests_may_hang_together_more_where_both_rest_on_the_bank():
    nulls, mirror = [i / 100 for i in range(99)], Witness(name="mirror", p_value=0.05, references=999)
    settings = {"mirror": mirror, "combined": True, "power": 0.9}
    by_table, by_bank = (judge(0.9, nulls, [], **settings, mirror_in_bank=flag).p_value for flag in (False, True))
    assert by_table is not None and by_bank is not None and by_table < by_bank
    assert by_table == combine(0.05, 0.1)


def test_an_answer_by_the_mirror_test_alone_says_that_the_picture_s_own_scores_were_taken_off():
    mirror = Witness(name="mirror", p_value=0.005, references=999)
    found = judge(0.9, [], [], mirror=mirror, mirror_in_bank=True)
    assert found.reason.code == "judging.mirror.knows_by_bank" and found.outcome.startswith("consistent")
