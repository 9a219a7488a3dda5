"""The mirror test's level, and what it and the controls decide."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cgidm.judging.flags import INDISTINGUISHABLE, NOT_FINITE, make_flag
from cgidm.judging.judge_pictures import judge_pictures
from cgidm.judging.mirror_choice import mirror_reference, needed_references
from cgidm.judging.mirror_test import (
    HANDEDNESS,
    MirrorTable,
    NullGroup,
    find_mirror_table,
    handedness,
    pictures_reference,
    set_p_value,
    table_reference,
)
from cgidm.judging.negative_controls import STANDS_OUT
from cgidm.judging.portfolio import judge_set
from cgidm.judging.result import MeasuredPicture
from cgidm.judging.verdict import Witness, is_positive, judge
from cgidm.messages import note
from cgidm.pictures.images import Picture
from tests.support.errors import refuses
from tests.support.pictures import picture
from tests.support.worlds import world

BASE = {"base/weights": "b" * 64, "suspect/weights": "c" * 64}
CONTROLS = [i / 100 for i in range(100)]


def witness(name, p):
    return Witness(name=name, p_value=p, references=99)


def groups_of(rng, artists, spread, each=10):
    """Null scores of artists whose styles differ by `spread` standard deviations of a picture."""
    centres = spread * rng.normal(size=artists)
    return [
        NullGroup(artist=f"m{i}", training="lora", scores=tuple(c + rng.normal(size=each)))
        for i, c in enumerate(centres)
    ]


@pytest.mark.parametrize("spread", [0.0, 0.3, 0.6])
def test_the_level_holds_for_nine_artists_in_ten(spread):
    """Counted on other artists than those of the table."""
    rng, rates = np.random.default_rng(0), []
    for _ in range(30):
        against = table_reference(groups_of(rng, 40, spread))
        for artist in groups_of(rng, 10, spread, each=200):
            rates.append(np.mean([against.p_value(s) <= 0.05 for s in artist.scores]))
    assert np.mean(rates) <= 0.05
    assert np.mean([r <= 0.065 for r in rates]) >= 0.88  # of 200 works 5 % are 13 at most, mostly


@pytest.mark.parametrize("spread", [0.0, 0.3, 0.6])
def test_a_set_of_unused_works_keeps_the_level(spread):
    """A common handedness does not average out over a set; without an allowance for it, half of the sets would err."""
    rng, found = np.random.default_rng(1), []
    for _ in range(40):
        against = table_reference(groups_of(rng, 40, spread))
        found += [set_p_value(artist.scores, against) <= 0.05 for artist in groups_of(rng, 25, spread)]
    assert np.mean(found) <= 0.065


def test_a_used_set_is_found():
    rng = np.random.default_rng(2)
    against = table_reference(groups_of(rng, 40, 0.3))
    assert set_p_value((3 + rng.normal(size=10)).tolist(), against) == 1 / 401  # the least that a picture can have


def test_the_spread_of_artists_is_estimated():
    rng = np.random.default_rng(3)
    assert handedness(groups_of(rng, 400, 0.75)) == pytest.approx(0.6, abs=0.05)  # 0.75 / sqrt(1 + 0.75^2)
    assert handedness(groups_of(rng, 1, 0.0)) == HANDEDNESS == handedness(groups_of(rng, 400, 0.0))


def test_pictures_by_other_hands_allow_for_what_the_suspect_learnt():
    """Unused works of the artist lie a little higher than pictures by hands that the suspect did not learn."""
    rng, found, sets = np.random.default_rng(6), [], []
    for _ in range(200):
        against = pictures_reference(rng.normal(size=160).tolist())
        works = 0.2 + 0.3 * rng.normal() + rng.normal(size=10)
        found += [against.p_value(w) <= 0.05 for w in works]
        sets.append(set_p_value(works.tolist(), against) <= 0.05)
    assert np.mean(found) <= 0.05 and np.mean(sets) <= 0.05


def test_references_that_show_nothing_leave_the_test_silent():
    fine = [float(i) for i in range(19)]
    assert pictures_reference(fine).ask(99.0, "").p_value == pytest.approx(1 / 20)
    for scores in (fine[:-1], [0.0] * 40, [float("nan")] * 40, []):
        for witness in (
            pictures_reference(scores).ask(99.0, ""),
            pictures_reference(scores).ask_set([99.0, 99.0], ["", ""]),
        ):
            assert witness.p_value is None and witness.silent is not None
            assert witness.silent.code == "judging.mirror.few"
    with_gaps = pictures_reference([*fine, float("nan"), float("inf")])
    assert with_gaps.scores == tuple(fine) and with_gaps.p_value(-99.0) == 1.0
    for score in (None, float("nan")):
        silent = pictures_reference(fine).ask(score, "").silent
        assert silent is not None and silent.code == "judging.no_score"


def test_where_it_can_be_asked_the_mirror_test_alone_says_yes():
    """It has the whole level, so controls can neither add a yes nor take one away."""
    for controls in ([], CONTROLS[:20], CONTROLS):
        for score in (-1.0, 0.5, 2.0):
            for p, outcome in ((0.01, "consistent with training on this image"), (0.04, "weak evidence")):
                verdict = judge(score, controls, [], mirror=witness("mirror", p))
                assert (verdict.outcome, verdict.p_value) == (outcome, p)
                assert verdict.reason.code == "judging.mirror.knows"
            assert not is_positive(judge(score, controls, [], mirror=witness("mirror", 0.06)).outcome)


def test_controls_say_what_its_silence_means():
    silent = witness("mirror", 0.6)
    neither = judge(0.5, CONTROLS, [], mirror=silent, power=0.9)
    assert neither.outcome == "no evidence" and neither.reason.code == "judging.mirror.neither"
    assert judge(0.5, CONTROLS, [], mirror=silent).reason.code == "judging.unknown_power"
    apart = judge(2.0, CONTROLS, [], mirror=silent)
    assert apart.outcome == "cannot tell" and apart.reason.code == "judging.mirror.disagree"
    assert judge(0.5, CONTROLS, [], mirror=silent, power=0.2).reason.code == "judging.weak_suspect"
    doubted = judge(2.0, CONTROLS, [], distrusted=[note("judging.flag.other_recipe")], mirror=silent)
    assert doubted.outcome == "cannot tell" and doubted.reason.code == "judging.mirror.silent"
    below = [c - 2 for c in CONTROLS]
    unlearnt = judge(-0.5, below, [], mirror=silent, power=0.9)  # above all, and no better known than to the base
    assert unlearnt.outcome == "no evidence"


def test_the_silence_of_the_mirror_test_alone_is_no_evidence_of_anything():
    """The trainer may have mirrored its pictures."""
    verdict = judge(0.5, [], [], mirror=witness("mirror", 0.6))
    assert verdict.outcome == "cannot tell" and verdict.reason.code == "judging.mirror.silent"
    flips = Witness(name="mirror", p_value=None, references=0, silent=note("judging.mirror.flips"))
    assert judge(0.5, [], [], mirror=flips).reason.code == "judging.mirror.flips"
    assert is_positive(judge(2.0, CONTROLS, [], mirror=flips).outcome)  # the controls have the whole level


def test_a_flag_of_the_controls_leaves_the_mirror_test_alone():
    doubt = [note("judging.flag.other_recipe")]
    assert judge(2.0, CONTROLS, [], distrusted=doubt, mirror=witness("mirror", 0.01)).outcome.startswith("consistent")
    alone = judge(2.0, CONTROLS, [], distrusted=doubt)
    assert alone.outcome == "cannot tell" and alone.reason == doubt[0]


def test_a_set_bounds_the_used_only_where_its_tests_agree():
    used, unused = [2.0] * 5, [0.5] * 5
    agreed = judge_set(used, CONTROLS, [], mirror=witness("mirror", 0.001))
    assert agreed.outcome.startswith("consistent") and agreed.used is not None and agreed.used.low > 0
    for scores, p in ((used, 0.6), (unused, 0.001), (unused, 0.6)):
        assert judge_set(scores, CONTROLS, [], mirror=witness("mirror", p)).used is None
    assert judge_set(used, CONTROLS, [], mirror=witness("mirror", 0.6)).reason.code == "judging.mirror.set.disagree"
    assert judge_set(unused, CONTROLS, [], mirror=witness("mirror", 0.6), power=0.9).outcome == "no evidence"


def test_flags_silence_the_mirror_test_as_well():
    blocked = judge(0.5, [], [note("judging.flag.generated")], mirror=witness("mirror", 0.001))
    assert blocked.outcome == "cannot tell" and blocked.p_value is None
    assert [w.p_value for w in blocked.witnesses] == [None, None]


def measured(score, mirror, seed):
    given = picture(seed)
    image = given.image
    scores = {"mirror": mirror, "loss_contrast": score}
    return MeasuredPicture(picture=given, scores=scores, flags=(), partial=image, recovered=image, contrast=())


def test_pictures_and_their_set_are_judged_without_controls():
    rng = np.random.default_rng(5)
    against = pictures_reference(rng.normal(size=160).tolist())
    used = [measured(0.1, 4.0, seed) for seed in (1, 2, 3)]
    pictures, together = judge_pictures(used, (), mirror=against)
    assert together is not None
    assert {r.verdict.outcome for r in pictures} == {"consistent with training on this image"}
    assert pictures[0].verdict.p_value == pytest.approx(1 / 161)
    assert together.outcome.startswith("consistent") and together.reason.code == "judging.mirror.set.knows"
    _, silent = judge_pictures([measured(0.1, 0.0, seed) for seed in (1, 2, 3)], (), mirror=against)
    assert silent is not None and silent.outcome == "cannot tell"
    assert silent.reason.code == "judging.mirror.set.silent"


def own_mirror_image(given):
    """The same picture, its right half the mirror image of its left."""
    left = given.picture.image[..., : given.picture.image.shape[-1] // 2]
    return replace(given, picture=replace(given.picture, image=torch.cat([left, left.flip(-1)], -1)))


def test_a_picture_that_is_its_own_mirror_image_is_not_asked():
    against = pictures_reference(np.random.default_rng(5).normal(size=160).tolist())
    used = [measured(0.1, 4.0, seed) for seed in (1, 2, 3)]
    mixed = [own_mirror_image(used[0]), *used[1:]]
    (first, *others), together = judge_pictures(mixed, (), mirror=against)
    assert first.verdict.outcome == "cannot tell" and first.verdict.reason.code == "judging.mirror.symmetric"
    assert all(is_positive(r.verdict.outcome) for r in others) and together is not None
    assert is_positive(together.outcome) and together.reason.params["pictures"] == 2, "two of the three can be asked"
    _, none = judge_pictures([own_mirror_image(m) for m in used], (), mirror=against)
    assert none is not None and none.outcome == "cannot tell"
    assert none.reason == note("judging.mirror.few_in_set", n=0, symmetric=3)
    twins = [used[0], replace(used[0], picture=replace(used[0].picture, name="twin"))]
    _, copies = judge_pictures(twins, (), mirror=against)
    assert copies is not None and copies.reason == note("judging.mirror.few_in_set", n=1, symmetric=0)
    controls = [i / 1000 for i in range(-50, 50)]
    ((by_controls, *_), _) = judge_pictures(mixed, controls, mirror=against, power=0.9)
    assert by_controls.verdict.p_value == pytest.approx(1 / 101), "the controls decide"


def test_what_a_flag_forbids_to_judge_is_left_out_of_the_set():
    """By its flag alone, whatever its score; where fewer than two would stay, the set is not judged."""
    against = pictures_reference(np.random.default_rng(5).normal(size=160).tolist())
    controls = [i / 1000 for i in range(-50, 50)]
    used = [measured(0.1, 4.0, seed) for seed in (1, 2, 3, 4)]
    blocked = make_flag("generated", leaves_out=True, limit=1)
    distrusted = make_flag("not_in_bank", leaves_out=True, concerns="controls")
    for flagged in (replace(used[0], scores={"loss_contrast": 9.0, "mirror": 9.0}), measured(-9.0, -9.0, 1)):
        mixed = [replace(flagged, flags=(blocked,)), replace(used[1], flags=(distrusted,)), *used[2:]]
        _, together = judge_pictures(mixed, controls, mirror=against, power=0.9)
        assert together is not None and is_positive(together.outcome) and together.reason.params["pictures"] == 3
        by_controls = together.witnesses[1]
        assert together.pictures == 2 and by_controls.p_value is not None and together.used is not None
        assert [n.code for n in together.notes] == ["judging.set.left_out", "judging.set.not_compared"]
        assert (together.left_out, together.not_compared) == (1, 1)
    all_but_one = [*(replace(r, flags=(blocked,)) for r in used[:3]), used[3]]
    _, none = judge_pictures(all_but_one, controls, mirror=against, power=0.9)
    assert none is not None and none.outcome == "cannot tell" and none.reason == blocked.note and none.left_out == 0
    _, mirror_alone = judge_pictures([replace(r, flags=(distrusted,)) for r in used], controls, mirror=against)
    assert mirror_alone is not None and is_positive(mirror_alone.outcome) and mirror_alone.notes == ()
    assert mirror_alone.witnesses[1].silent == distrusted.note
    for flag in (NOT_FINITE, INDISTINGUISHABLE, STANDS_OUT):  # what is measured must not choose the pictures
        _, all_of_them = judge_pictures([replace(used[0], flags=(flag,)), *used[1:]], controls, mirror=against)
        assert all_of_them is not None and all_of_them.notes == () and all_of_them.witnesses[1].silent == flag.note


def table(**changes):
    fields = {"base": ("b" * 64,), "draws": 24, "groups": (NullGroup(artist="m", training="lora", scores=(0.0, 1.0)),)}
    return MirrorTable(**fields | changes).model_dump(mode="json")


def test_a_table_is_found_by_base_and_draws(tmp_path):
    (tmp_path / "mirror_nulls.json").write_text(json.dumps([table(base=("d" * 64,)), table()]))
    found = find_mirror_table(BASE, 24, tmp_path)
    assert found is not None and found.reference.scores == (0.0, 1.0)
    assert find_mirror_table(BASE, 12, tmp_path) is None
    assert find_mirror_table({"base": "e" * 64}, 24, tmp_path) is None
    assert find_mirror_table(BASE, 24, tmp_path / "nowhere") is None
    (tmp_path / "mirror_nulls.json").write_text('[{"base": 3}]')
    with refuses("judging.damaged_mirror_table"):
        find_mirror_table(BASE, 24, tmp_path)


def test_what_is_compared_with_follows_from_notes_and_base():
    assert mirror_reference({}, None, 0, []) is None
    assert mirror_reference({}, True, 24, [0.1]) == note("judging.mirror.flips")
    assert mirror_reference({}, False, 24, []) == note("judging.mirror.no_reference")
    assert mirror_reference({}, None, 24, [0.1, 0.2], ["a", "b"]) == pictures_reference([0.1, 0.2], ["a", "b"])


def test_reference_pictures_are_scored_only_where_they_count():
    pair = world(0)[0]
    flipped = type(pair)(pair.base, pair.suspect, pair.schedule, mirrored_training=True)
    given: list[Picture] = [picture(i) for i in range(4)]
    needed = needed_references(pair, 24, [picture(2)], given)  # a copy of the picture in question is left out
    assert [p.name for p in needed] == [given[i].name for i in (0, 1, 3)]
    assert needed_references(flipped, 24, [picture(9)], given) == []
    assert needed_references(pair, 0, [picture(9)], given) == []


def test_where_the_framing_is_not_known_the_smaller_of_two_p_values_counts_twice():
    against = pictures_reference(np.random.default_rng(5).normal(size=999).tolist())

    def p_value(*scores):
        named = dict(zip(("mirror", "mirror_of_square"), scores, strict=False))
        found = replace(measured(0.1, 0.0, 1), scores={"loss_contrast": 0.1, **named})
        (judged,), _ = judge_pictures([found], (), mirror=against)
        return judged.verdict.p_value or float("nan")

    high, low = 3.0, -1.0
    assert p_value(high, low) == p_value(low, high) == pytest.approx(2 * p_value(high))
    assert p_value(low, low) == 1.0
    rng = np.random.default_rng(0)
    called = [p_value(*rng.normal(size=2)) <= 0.05 for _ in range(400)]
    assert np.mean(called) <= 0.05


def test_a_set_is_judged_by_the_framing_that_speaks_louder():
    against = pictures_reference(np.random.default_rng(5).normal(size=160).tolist())
    squares = [measured(0.1, 0.0, seed) for seed in (1, 2, 3)]
    used = [replace(m, scores={**m.scores, "mirror_of_square": 2.5}) for m in squares[:2]] + squares[2:]
    _, together = judge_pictures(used, (), mirror=against)
    _, plain = judge_pictures(squares, (), mirror=against)
    expected = 2 * set_p_value([2.5, 2.5, 0.0], against)  # a square picture has one framing
    assert together is not None and plain is not None
    assert together.witnesses[0].p_value == pytest.approx(expected)
    assert (plain.witnesses[0].p_value or 0) > 0.3


def test_two_framings_need_twice_as_many_references():
    def verdict_by(references):
        against = pictures_reference([i / 100 for i in range(references)])
        found = replace(measured(0.1, 9.0, 1), scores={"loss_contrast": 0.1, "mirror": 9.0, "mirror_of_square": 0.0})
        (judged,), _ = judge_pictures([found], (), mirror=against)
        return judged.verdict

    assert verdict_by(38).p_value is None and verdict_by(38).reason.code == "judging.mirror.few"
    assert verdict_by(39).p_value == pytest.approx(0.05) and verdict_by(39).outcome.startswith("weak")
