"""The fusion finds what its parts know, and no picture's label reaches its own score."""

import numpy as np
import pandas as pd
import pytest

from eval.analysis.fused import COLUMNS, fuse
from eval.analysis.metrics import pooled_auc

A, B = ("recovery", "alignment"), ("loss", "contrast")
ROLES = (("trained", "lora"), ("unrelated", "lora"), ("innocent", "none"))


def world(traces, concepts=10, parts=(A, B), roles=ROLES, training="lora", seed=0):
    """A crossed design; part k of a member of a trained suspect lies `traces[k]` standard deviations higher."""
    rng, rows = np.random.default_rng(seed), []
    for role, how in roles:
        for concept, half, picture in np.ndindex(concepts, 2, 10):
            member = (picture + half) % 2
            decision = ("art", role, f"c{concept}", f"{role}-{concept}-{half}", training if how == "lora" else how)
            for k, (method, measure) in enumerate(parts):
                score = 10**k * (rng.normal() + traces[k] * member * (role == "trained"))
                rows.append((*decision, f"p{picture}", member, method, measure, 100 * (k + 1), score))
    return pd.DataFrame(rows, columns=COLUMNS)


def auc(rows, role="trained"):
    return pooled_auc(rows.query("role == @role"))


def of(rows, part):
    return rows[(rows["method"] == part[0]) & (rows["measure"] == part[1])]


def test_noise_is_left_aside():
    rows = world((2.0, 0.0))
    fused = fuse(rows, [A, B], "lora")
    assert auc(of(rows, A)) > 0.85 and auc(of(rows, B)) < 0.6
    assert auc(fused) == pytest.approx(auc(of(rows, A)), abs=0.02)


def test_two_witnesses_know_more_than_either():
    rows = world((1.0, 1.0))
    fused = fuse(rows, [A, B], "lora")
    assert auc(fused) > max(auc(of(rows, A)), auc(of(rows, B))) + 0.03
    assert all(0.4 < auc(fused, role) < 0.6 for role in ("unrelated", "innocent"))


def test_scores_are_log_odds():
    fused = fuse(world((1.5, 1.0), concepts=30, roles=ROLES[:1]), [A, B])
    stated = 1 / (1 + np.exp(-fused["score"].to_numpy()))
    for low, high in ((0, 0.2), (0.4, 0.6), (0.8, 1)):
        within = (stated >= low) & (stated <= high)
        assert fused["member"].to_numpy()[within].mean() == pytest.approx(stated[within].mean(), abs=0.08)


def test_no_label_touches_the_score_of_its_own_concept():
    rows = world((1.5, 1.0), concepts=5)
    flipped = rows.assign(member=rows["member"].where(rows["concept"] != "c3", 1 - rows["member"]))
    keys = ["role", "concept", "suspect", "picture"]
    before, after = (fuse(r, [A, B], "lora").set_index(keys)["score"].sort_index() for r in (rows, flipped))
    own = before.index.get_level_values("concept") == "c3"
    pd.testing.assert_series_equal(after[own], before[own], check_exact=True)
    assert (after[~own] != before[~own]).all()


def test_suspects_of_chance_are_never_fitted_on():
    rows = world((1.5, 1.0), concepts=5)
    others = rows["role"] != "trained"
    changed = rows.assign(score=rows["score"].where(~others, 1e3 * rows["member"]))
    before, after = (fuse(r, [A, B], "lora").query("role == 'trained'") for r in (rows, changed))
    pd.testing.assert_frame_equal(after, before, check_exact=True)


def test_a_rule_knows_only_its_own_training_and_dataset():
    rows = world((1.5, 1.0), concepts=5)
    foreign = world((-3.0, -3.0), concepts=5, training="dreambooth", roles=ROLES[:2], seed=1)
    alone, among = fuse(rows, [A, B], "lora"), fuse(pd.concat([rows, foreign]), [A, B], "lora")
    among_lora = among.query("training != 'dreambooth'").reset_index(drop=True)
    pd.testing.assert_frame_equal(among_lora, alone, check_exact=True)
    elsewhere = pd.concat([rows, world((-3.0, -3.0), concepts=5, seed=1).assign(dataset="dogs")])
    art = fuse(elsewhere, [A, B], "lora").query("dataset == 'art'").reset_index(drop=True)
    pd.testing.assert_frame_equal(art, alone, check_exact=True)


def test_the_order_of_rows_does_not_matter():
    rows = world((1.5, 1.0), concepts=4)
    shuffled = rows.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(fuse(shuffled, [A, B], "lora"), fuse(rows, [A, B], "lora"), check_exact=True)


def test_columns_and_costs():
    third = ("loss", "ratio")
    rows = world((1.0, 1.0, 1.0), concepts=4, parts=(A, B, third))
    fused = fuse(rows, [A, B, third], "lora")
    assert list(fused) == COLUMNS and len(fused) == len(rows) / 3
    assert set(fused["measure"]) == {"recovery.alignment+loss.contrast+loss.ratio"}
    assert set(fused["method"]) == {"fused"}
    assert set(fused["evaluations"]) == {100 + 300}  # both measures of the loss come from one answer


def test_other_measures_are_ignored():
    rows = world((1.0, 1.0), concepts=4)
    more = pd.concat([rows, of(rows, B).assign(measure="other", score=np.nan)])
    pd.testing.assert_frame_equal(fuse(more, [A, B], "lora"), fuse(rows, [A, B], "lora"), check_exact=True)


def test_innocent_suspects_need_a_training():
    rows = world((1.0, 1.0), concepts=4)
    with pytest.raises(ValueError, match="no trained rows of training 'none', nor of None"):
        fuse(rows, [A, B])
    with pytest.raises(ValueError, match="nor of 'textual'"):
        fuse(rows, [A, B], "textual")


def test_what_cannot_be_fused_is_refused():
    rows = world((1.0, 1.0), concepts=4, roles=ROLES[:1])
    with pytest.raises(ValueError, match="needs 3 concepts; 'art', 'lora' has 2"):
        fuse(rows.query("concept in ('c0', 'c1')"), [A, B])
    with pytest.raises(ValueError, match=r"no scores of loss\.nothing"):
        fuse(rows, [A, ("loss", "nothing")])
    with pytest.raises(ValueError, match=r"1 decisions lack a part .*, such as art, trained, c0"):
        fuse(rows.iloc[1:], [A, B])
    with pytest.raises(ValueError, match="twice: art, trained, c0"):
        fuse(pd.concat([rows, rows.iloc[:1].assign(evaluations=5)]), [A, B])
    for parts in ([], [A, A]):
        with pytest.raises(ValueError, match="each named once"):
            fuse(rows, parts)
