"""What a negative answer is worth: the table, and how it is looked up."""

import json
from dataclasses import replace

import pytest
import torch

from cgidm.judging.banks.null_bank import open_bank
from cgidm.judging.banks.residuals import bank_power
from cgidm.judging.distance import weight_distance
from cgidm.judging.judge_pictures import judge_pictures
from cgidm.judging.mirror_test import MirrorReference
from cgidm.judging.result import MeasuredPicture
from cgidm.judging.tables.power import (
    TABLE,
    ExpectedPower,
    PowerCurve,
    PowerTable,
    RunPower,
    StatedPower,
    expect_power,
    find_power_table,
)
from cgidm.judging.verdict import LEAST_POWER, Outcome, Verdict, Witness, WitnessName
from cgidm.messages import note
from cgidm.pictures.images import Picture
from cgidm.resources import base_folder, resource_root
from cgidm.training.trained_model import weight_digests
from eval.benchmark.experiment import load_experiment
from eval.error_rates.power.measured import measure_power
from eval.error_rates.scoring import SuspectScores
from tests.support.errors import refuses
from tests.support.results import power_row
from tests.support.worlds import world

BY_TABLE = MirrorReference("table", tuple(i / 20 for i in range(-20, 21)), 0.2, 18)


def curve(distances, shares, test="mirror", kind="lora"):
    return PowerCurve(test=test, kind=kind, distances=tuple(distances), shares=tuple(shares))


def test_a_suspect_reaches_the_share_of_the_next_weaker_one_that_was_measured():
    table = PowerTable(base=("a",), level=0.05, rows=(), curves=(curve((0.01, 0.02, 0.1), (0.1, 0.5, 0.9)),))
    found = [table.share("mirror", "lora", d) for d in (0.0, 0.0099, 0.01, 0.0199, 0.02, 0.09, 0.1, 9.0)]
    assert found == [None, None, 0.1, 0.1, 0.5, 0.5, 0.9, 0.9]
    assert table.share("mirror", "lora", float("nan")) is None


def test_tests_and_kinds_are_kept_apart():
    curves = (curve((0.01,), (0.9,)), curve((0.01,), (0.2,), kind="dreambooth"), curve((0.01,), (0.4,), "controls"))
    table = PowerTable(base=("a",), level=0.05, rows=(), curves=curves)
    assert table.share("mirror", "lora", 0.01) == 0.9 and table.share("mirror", "dreambooth", 0.01) == 0.2
    assert table.share("controls", "lora", 0.01) == 0.4 and table.share("controls", "dreambooth", 0.01) is None


def test_the_power_is_that_of_the_tests_that_are_asked():
    weights = list(weight_digests(str(base_folder())))
    table = find_power_table(weights)
    by_mirror, by_controls = (table.share(test, "lora", 0.05) for test in ("mirror", "controls"))
    assert by_mirror > LEAST_POWER > by_controls
    both = expect_power(weights, [0.04, 0.06], mirror=BY_TABLE, controls=19)
    assert both == ExpectedPower(by_mirror, by_controls) and both.either == by_mirror
    assert expect_power(weights, [0.05], mirror=None, controls=19) == ExpectedPower(None, by_controls)
    assert expect_power(weights, [0.05], mirror=BY_TABLE, controls=18) == ExpectedPower(by_mirror, None)
    assert expect_power(weights, [0.05], mirror=None) == ExpectedPower() and ExpectedPower().either is None
    assert expect_power(["other"], [0.05], mirror=BY_TABLE, controls=40) == ExpectedPower()
    full = expect_power(weights, [0.05], 0.05, mirror=BY_TABLE, controls=40)
    assert full == ExpectedPower(*(table.share(test, "dreambooth", 0.05) for test in ("mirror", "controls")))
    weak = expect_power(weights, [0.05], 0.001, mirror=BY_TABLE, controls=40)
    assert weak == ExpectedPower(), "full networks trained so little were never measured"
    for unlike in ({"looked_at_twice": True}, {"prompts": 2}, {"others": 1}, {"unused": 1}):
        assert expect_power(weights, [0.05], mirror=BY_TABLE, controls=40, **unlike) == ExpectedPower()


def test_a_bank_says_itself_how_many_are_found_whatever_the_table_says():
    bank = open_bank(resource_root() / "banks" / "rollandin-lora")
    weights = list(weight_digests(str(base_folder())))
    found = expect_power(weights, [0.05], None, bank, mirror=BY_TABLE)
    assert (
        found.controls == bank_power(bank.content)
        and found.mirror == expect_power(weights, [0.05], mirror=BY_TABLE).mirror
    )
    assert expect_power(["other"], [0.05], None, bank, mirror=BY_TABLE) == ExpectedPower(None, bank_power(bank.content))


def measured(scores, image):
    picture = Picture("a.png", "a" * 64, image, ())
    return MeasuredPicture(picture=picture, scores=scores, flags=(), partial=image, recovered=image, contrast=())


def test_the_power_of_the_mirror_test_does_not_count_where_it_has_nothing_to_say():
    """A picture that is its own mirror image is left to the controls."""
    nulls, half = [0.001 * i for i in range(40)], torch.rand(3, 8, 4, generator=torch.Generator().manual_seed(0))
    symmetric, other = (
        torch.cat([half, half.flip(-1)], -1),
        torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)),
    )
    mirror = MirrorReference("table", tuple(0.1 * i for i in range(-30, 30)), 0.2, 18)
    for image, powers, outcome in (
        (other, (0.9, 0.2), "no evidence"),
        (other, (0.2, 0.1), "cannot tell"),
        (symmetric, (0.9, 0.2), "cannot tell"),
        (symmetric, (0.9, 0.8), "no evidence"),
    ):
        picture = measured({"loss_contrast": 0.01, "mirror": 0.0}, image)
        (found,), _ = judge_pictures([picture], nulls, mirror=mirror, power=powers[0], control_power=powers[1])
        assert found.verdict.outcome == outcome, (powers, outcome)
    (alone,), _ = judge_pictures([measured({"loss_contrast": 0.01}, other)], nulls, mirror=None, power=0.9)
    assert alone.verdict.outcome == "no evidence"


def verdict(outcome: Outcome = "no evidence", code="judging.as_high", **p_values):
    names: tuple[WitnessName, ...] = ("mirror", "controls")
    tests = tuple(Witness(name=name, p_value=p_values[name], references=20) for name in names)
    return Verdict(outcome, 0.4, note(code), 20, tests)


@pytest.mark.parametrize(
    ("expected", "controls", "p_values", "bank", "mirrored", "stated"),
    [
        (0.93, 0.74, {"mirror": 0.4, "controls": 0.4}, False, None, StatedPower(0.93, "mirror", True)),
        (0.93, 0.74, {"mirror": 0.4, "controls": 0.4}, False, False, StatedPower(0.93, "mirror")),
        (0.93, 0.74, {"mirror": None, "controls": 0.4}, False, None, StatedPower(0.74, "controls")),
        (0.93, 0.74, {"mirror": 0.4, "controls": None}, False, None, StatedPower(0.93, "mirror", True)),
        (0.93, 0.74, {"mirror": None, "controls": 0.4}, True, None, StatedPower(0.74, "bank")),
        (0.74, 0.74, {"mirror": 0.4, "controls": 0.4}, False, None, StatedPower(0.74, "controls")),
        (0.41, 0.41, {"mirror": 0.4, "controls": None}, False, None, None),
        (0.10, None, {"mirror": None, "controls": 0.4}, False, None, None),
        (0.10, None, {"mirror": 0.4, "controls": 0.4}, False, None, StatedPower(0.10, "mirror", True)),
        (0.93, 0.74, {"mirror": None, "controls": None}, False, None, None),
        (None, None, {"mirror": 0.4, "controls": 0.4}, True, None, None),
    ],
)
def test_the_share_that_is_stated_is_that_of_a_test_that_spoke(expected, controls, p_values, bank, mirrored, stated):
    known = RunPower(expected, controls, bank, mirrored)
    assert known.behind(verdict(**p_values).witnesses) == stated
    assert known.behind_all([verdict(**p_values)]) == stated


def test_the_share_of_several_answers_holds_of_each_that_finds_nothing():
    known = RunPower(0.93, 0.74, False, None)
    both, symmetric = verdict(mirror=0.4, controls=0.4), verdict(mirror=None, controls=0.4)
    alone = verdict("cannot tell", "judging.mirror.silent", mirror=0.4, controls=None)
    found = verdict("weak evidence", "judging.mirror.knows", mirror=0.04, controls=0.4)
    unclear = verdict("cannot tell", "judging.unknown_power", mirror=None, controls=0.4)
    assert known.behind_all([both, alone, found, unclear]) == StatedPower(0.93, "mirror", True)
    assert known.behind_all([both, symmetric]) == StatedPower(0.74, "controls")
    assert known.behind_all([found, unclear]) is None and known.behind_all([]) is None
    assert RunPower(0.74, 0.74, False, None).behind_all([both, alone]) is None, "one of the two is not known"


def test_the_table_of_a_base_is_found_by_its_weights(tmp_path):
    table = PowerTable(base=("a", "b"), level=0.05, rows=(power_row(0.1, 1.0),), curves=(curve((0.01,), (0.5,)),))
    assert find_power_table(["a"], tmp_path) is None
    (tmp_path / TABLE).write_text(json.dumps([table.model_dump()]))
    assert find_power_table(["b", "a"], tmp_path) == table and find_power_table(["c"], tmp_path) is None
    (tmp_path / TABLE).write_text("[{}]")
    with refuses("judging.damaged_power_table", file=TABLE):
        find_power_table(["a"], tmp_path)


def test_power_is_counted_against_the_other_makers_left_out_pictures():
    experiment = load_experiment("mini-power")
    names = tuple(str(i) for i in range(20))
    member = (1,) * 10 + (0,) * 10

    def answers(concept, members, holdouts):
        scores = (*members, *holdouts)
        facts = {"dataset": "wikiart", "concept": concept, "half": 0, "training": "lora-steps-5"}
        return SuspectScores(**facts, files=names, member=member, scores=scores, prediction_distances=(0.02,) * 20)

    low = [-0.01 * i for i in range(10)]
    scored = [answers(c, [0.5] * 5 + [-1.0] * 5, low) for c in ("a", "b", "c")]
    scored[0] = answers("a", [0.5] * 5 + [-1.0] * 5, [0.6, *low[1:]])  # one false positive
    (found,) = measure_power(experiment, scored)
    assert found.kind == "lora" and found.steps_per_picture == 5 and found.rank == 16 and found.images == 10
    assert found.prediction_distance == pytest.approx(0.02) and found.members == 30
    assert found.false_positives == pytest.approx(1 / 30) and found.power == pytest.approx(5 / 30)


def test_the_shift_of_weights_is_a_share_and_an_adapter_has_none():
    pair, _, _ = world(0)
    base, tuned = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    with torch.no_grad():
        for a, b in zip(base.parameters(), tuned.parameters(), strict=True):
            b.copy_(1.25 * a)
    assert weight_distance(replace(pair, networks=(base, tuned))) == pytest.approx(0.25)
    assert weight_distance(replace(pair, networks=(base, base))) == 0
    assert weight_distance(replace(pair, networks=(base,))) is None and weight_distance(pair) is None
