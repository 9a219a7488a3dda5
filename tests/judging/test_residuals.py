"""A picture's score less its own difficulty."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cgidm.judging.banks.null_bank import Bank, BankPicture, NullBank, NullModel
from cgidm.judging.banks.residuals import (
    NOT_IN_BANK,
    add_residual,
    bank_power,
    bank_residual,
    member_residuals,
    not_in_bank_flags,
    null_residuals,
    reference_residuals,
    residual,
    residual_flags,
    residuals_of,
)
from cgidm.judging.judge_pictures import judge_pictures
from cgidm.judging.result import RESIDUAL_SCORE, MeasuredPicture
from cgidm.judging.tables.residual_table import (
    NO_RESIDUALS,
    OTHER_RESIDUALS,
    TABLE,
    ResidualGroup,
    ResidualTable,
    find_residual_table,
    mean_rise,
    memorisation,
)
from cgidm.judging.verdict import conformal_p_value, is_positive, judge
from cgidm.method.config import RunConfig
from cgidm.training.null_models import BankPlan
from cgidm.training.trained_model import weight_digests
from tests.support.errors import refuses
from tests.support.paths import ASSETS
from tests.support.pictures import picture

PICTURES, MODELS = 20, 4


def bank_of(rng, gain=1.0, models=MODELS):
    """Pictures of very different difficulty, and models of opposite halves, two by two.

    What a model was trained on scores higher by `gain`. Nearly every score is above zero.
    """
    difficulty = 10 + rng.normal(size=PICTURES)
    orders = [rng.permutation(PICTURES) for _ in range(models // 2)]
    halves = [set(half.tolist()) for order in orders for half in np.split(order, 2)]
    made = [model_of(difficulty, half, gain, rng) for half in halves]
    pictures = tuple(BankPicture(name=f"{i}.png", sha256=f"{i:064d}") for i in range(PICTURES))
    bank = NullBank(
        format=2, base=(), prompt="", recipe={}, loss_draws=20, seed=0, pictures=pictures, models=tuple(made)
    )
    return bank, difficulty


def model_of(difficulty, trained, gain, rng):
    scores = difficulty + 0.1 * rng.normal(size=PICTURES) + gain * np.isin(np.arange(PICTURES), list(trained))
    still = (0.1,) * PICTURES
    return NullModel(
        folder="m", sha256={}, trained_on=tuple(sorted(trained)), scores=tuple(scores), prediction_distances=still
    )


def test_the_spread_of_a_residual_does_not_depend_on_the_number_of_models():
    rng = np.random.default_rng(0)
    for k in (1, 2, 5):
        x = rng.normal(size=(20_000, k + 1))
        assert np.std([residual(row[0], row[1:].tolist()) for row in x]) == pytest.approx(1, abs=0.03)


def test_difficulty_is_taken_off():
    """Where pictures differ ten times as much as models do, scores find hardly anything, and residuals everything."""
    rng = np.random.default_rng(1)
    false, found, by_scores = [], [], []
    for _ in range(60):
        bank, difficulty = bank_of(rng, gain=0.6)
        suspect = model_of(difficulty, set(range(10)), 0.6, rng)
        nulls = null_residuals(bank)
        assert len(nulls) == sum(len(bank.scores_without(i)) for i in range(PICTURES))
        for i, score in enumerate(suspect.scores):
            r = bank_residual(bank, f"{i:064d}", score)
            (found if i < 10 else false).append(is_positive(judge(r, nulls, []).outcome))
            if i < 10:
                by_scores.append(conformal_p_value(score, bank.nulls) <= 0.05)
    assert np.mean(false) <= 0.06 and np.mean(found) >= 0.95 and np.mean(by_scores) < 0.4


def test_a_picture_that_the_suspect_knows_no_better_than_its_base_is_not_called():
    bank, _ = bank_of(np.random.default_rng(2))
    assert bank_residual(bank, f"{0:064d}", 50.0) > 0
    low = bank.model_copy(
        update={"models": tuple(m.model_copy(update={"scores": (-9.0,) * PICTURES}) for m in bank.models)}
    )
    assert bank_residual(low, f"{0:064d}", -0.1) == 0.0 and bank_residual(low, f"{0:064d}", 0.1) > 6
    assert set(member_residuals(low)) == {0.0} and bank_power(low) == 0


def test_a_picture_that_the_bank_does_not_have_is_not_judged_by_it():
    bank, _ = bank_of(np.random.default_rng(3))
    assert bank_residual(bank, "f" * 64, 1.0) is None and not_in_bank_flags(bank, "f" * 64) == (NOT_IN_BANK,)
    assert not_in_bank_flags(bank, f"{1:064d}") == ()
    held = Bank(bank, "b", b"")
    assert add_residual({"loss_contrast": 1.0}, held, "f" * 64) == {"loss_contrast": 1.0}
    assert list(add_residual({"loss_contrast": 1.0, "x": 2.0}, held, f"{1:064d}")) == ["loss_contrast", "x", "residual"]
    assert add_residual({}, held, f"{1:064d}") == {} and add_residual({"loss_contrast": 1.0}, None, "") != {}
    given = picture(0)
    shown = {"partial": given.image, "recovered": given.image, "contrast": ()}
    measured = MeasuredPicture(picture=given, scores={"loss_contrast": 1.0}, flags=(NOT_IN_BANK,), **shown)
    found = {"null_residuals": null_residuals(bank), "power": 0.9}
    ((judged,), _) = judge_pictures([measured], bank.nulls, **found)
    assert judged.verdict.outcome == "cannot tell" and judged.verdict.reason == NOT_IN_BANK.note


def test_two_models_leave_every_picture_out_once_and_show_no_rate():
    bank, _ = bank_of(np.random.default_rng(4), models=2)
    assert null_residuals(bank) == () and len(member_residuals(bank)) == PICTURES and bank_power(bank) is None
    assert judge(1.0, null_residuals(bank), []).reason.code == "judging.few_controls"


def test_a_set_is_judged_by_scores():
    """A suspect that lifts all of its works alike: their difficulties hide that in scores, and not in residuals."""
    bank, difficulty = bank_of(np.random.default_rng(6))
    given = [picture(i) for i in range(6)]
    shown = [{"partial": p.image, "recovered": p.image, "contrast": (), "flags": (), "picture": p} for p in given]
    scores = [difficulty[i] + 0.5 for i in range(6)]  # five times what models differ by
    residuals = [bank_residual(bank, f"{i:064d}", s) for i, s in enumerate(scores)]
    measured = [
        MeasuredPicture(scores={"loss_contrast": s, RESIDUAL_SCORE: r}, **rest)
        for s, r, rest in zip(scores, residuals, shown, strict=True)
    ]
    judged, together = judge_pictures(measured, bank.nulls, null_residuals=null_residuals(bank), power=0.9)
    assert all(is_positive(r.verdict.outcome) for r in judged) and together.outcome == "no evidence"


def test_decoys_take_no_difficulty_off():
    """Models of other hands do not know the style, which is most of what they would take off."""
    bank, _ = bank_of(np.random.default_rng(7))
    decoys = Bank(bank.model_copy(update={"decoys": True}), "b", b"")
    assert residuals_of(decoys) is None and not_in_bank_flags(decoys.content, "f" * 64) == ()
    assert add_residual({"loss_contrast": 1.0}, decoys, f"{1:064d}") == {"loss_contrast": 1.0}
    assert residuals_of(Bank(bank, "b", b"")) == null_residuals(bank) and residuals_of(None) is None


def test_a_bank_counts_its_own_power():
    assert bank_power(bank_of(np.random.default_rng(5), gain=3.0)[0]) == 1
    assert bank_power(bank_of(np.random.default_rng(5), gain=0.0)[0]) < 0.3


# --- banks of two models ----------------------------------------------------------------------------------------------


def ship_table(folder, monkeypatch, groups, base=("w",), draws=20):
    table = ResidualTable(base=base, draws=draws, groups=tuple(groups))
    (folder / TABLE).write_text(json.dumps([table.model_dump()]))
    monkeypatch.setattr("cgidm.judging.tables.files.resource_root", lambda: folder)


def group_of(residuals, memorisation=0.6):
    return ResidualGroup(artist="a", training="lora", memorisation=memorisation, residuals=tuple(residuals))


def two_models(rng, gain=0.6):
    bank, difficulty = bank_of(rng, gain=gain, models=2)
    return bank.model_copy(update={"base": ("w",)}), difficulty


def test_memorisation_is_what_pictures_rise_by_when_they_are_trained_on():
    bank, _ = bank_of(np.random.default_rng(3), gain=0.6)
    assert memorisation(bank) == pytest.approx(0.6, abs=0.05)
    assert mean_rise([([3.0], [1.0, 2.0]), ([], [1.0]), ([2.0], [])]) == 1.5 and mean_rise([]) == 0.0


def test_a_bank_of_two_is_judged_by_residuals_of_other_artists_in_its_own_unit(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    other = rng.normal(size=400) / 6  # the noise of two scores of a picture, of a gain six times as large
    ship_table(tmp_path, monkeypatch, [group_of(other)])
    false, found = [], []
    for _ in range(60):
        bank, difficulty = two_models(rng)
        assert null_residuals(bank) == () and residual_flags(bank) == (OTHER_RESIDUALS,)
        assert max(reference_residuals(bank)) == pytest.approx(memorisation(bank) * max(other))
        suspect = model_of(difficulty, set(range(10)), 0.6, rng)
        for i, score in enumerate(suspect.scores):
            p = conformal_p_value(bank_residual(bank, f"{i:064d}", score), reference_residuals(bank))
            (found if i < 10 else false).append(p <= 0.05)
    assert 0.02 <= np.mean(false) <= 0.08 and np.mean(found) >= 0.95
    assert bank_power(bank) >= 0.95 and residuals_of(Bank(bank, "b", b"{}")) == reference_residuals(bank)


def test_a_bank_with_residuals_of_its_own_needs_no_table(tmp_path, monkeypatch):
    ship_table(tmp_path, monkeypatch, [group_of([9.0] * 400)])
    bank = bank_of(np.random.default_rng(5))[0].model_copy(update={"base": ("w",)})
    assert reference_residuals(bank) == null_residuals(bank) and residual_flags(bank) == ()


@pytest.mark.parametrize(
    ("base", "draws", "unit"),
    [(("v",), 20, 0.6), (("w",), 24, 0.6), (("w",), 20, 0.2), (("w",), 20, 2.0)],
    ids=["another base", "other draws", "banks that memorise less", "banks that memorise more"],
)
def test_a_table_of_something_else_answers_nothing(tmp_path, monkeypatch, base, draws, unit):
    ship_table(tmp_path, monkeypatch, [group_of([0.1] * 400, unit)], base, draws)
    bank, _ = two_models(np.random.default_rng(6))
    assert reference_residuals(bank) == () and residual_flags(bank) == (NO_RESIDUALS,) and bank_power(bank) is None


def test_two_models_of_the_embedded_flow_model_are_refused_since_no_table_is_of_it(tmp_path):
    """The table that ships is of the other embedded model, with which it shares two of four weight files."""
    (shipped,) = json.loads((ASSETS / TABLE).read_text())
    flow, mini = (weight_digests(str(ASSETS / name)) for name in ("mini-flow", "mini"))
    assert set(shipped["base"]) <= set(mini) and set(shipped["base"]) & set(flow)
    assert find_residual_table(flow, RunConfig().loss_draws) is None
    assert find_residual_table(mini, RunConfig().loss_draws) is not None

    bank = two_models(np.random.default_rng(8))[0].model_copy(update={"base": tuple(flow)})
    assert residual_flags(bank) == (NO_RESIDUALS,) and NO_RESIDUALS.blocks_verdict and reference_residuals(bank) == ()
    four = bank_of(np.random.default_rng(8))[0].model_copy(update={"base": tuple(flow)})
    assert residual_flags(four) == () and len(reference_residuals(four)) == 40

    for i in range(20):
        Image.linear_gradient("L").rotate(i).save(tmp_path / f"{i}.png")
    plan = BankPlan(base=str(ASSETS / "mini-flow"), folders=(tmp_path,), models=2, out=tmp_path / "bank")
    with refuses("training.too_few_scores", models=2, pictures=20):
        plan.find_pictures()
    assert len(replace(plan, base=str(ASSETS / "mini")).find_pictures()) == 20
    assert len(replace(plan, models=4).find_pictures()) == 20


def test_a_damaged_table_is_refused(tmp_path, monkeypatch):
    (tmp_path / TABLE).write_text("[{}]")
    monkeypatch.setattr("cgidm.judging.tables.files.resource_root", lambda: tmp_path)
    with refuses("judging.damaged_residual_table"):
        reference_residuals(two_models(np.random.default_rng(7))[0])
