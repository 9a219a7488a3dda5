"""What a negative answer is worth: the table, and how it is looked up."""

import json
from dataclasses import replace

import pytest
import torch

from cgidm.judging.distance import weight_distance
from cgidm.judging.tables.power import TABLE, PowerTable, find_power_table
from eval.benchmark.experiment import load_experiment
from eval.error_rates.power.measured import measure_power
from eval.error_rates.scoring import SuspectScores
from tests.support.errors import refuses
from tests.support.results import power_row
from tests.support.worlds import world


def test_power_grows_with_the_shift_and_is_constant_beyond_the_table():
    table = PowerTable(base=("a",), level=0.05, rows=(power_row(0.1, 1.0), power_row(0.001, 0.1), power_row(0.01, 0.5)))
    assert [table.power(s, "lora") for s in (0.0, 1e-6, 0.001, 0.01, 0.1, 9.0)] == pytest.approx(
        [0.1, 0.1, 0.1, 0.5, 1, 1]
    )
    assert table.power((0.001 * 0.01) ** 0.5, "lora") == pytest.approx(0.3)


def test_kinds_are_kept_apart():
    table = PowerTable(base=("a",), level=0.05, rows=(power_row(0.01, 0.9), power_row(0.01, 0.2, kind="dreambooth")))
    assert table.power(0.01, "lora") == 0.9 and table.power(0.01, "dreambooth") == 0.2
    assert PowerTable(base=("a",), level=0.05, rows=(power_row(0.01, 0.9),)).power(0.01, "dreambooth") is None


def test_neighbours_that_contradict_are_averaged_by_their_weight():
    table = PowerTable(
        base=("a",), level=0.05, rows=(power_row(0.01, 0.6, 30), power_row(0.02, 0.3, 60), power_row(0.1, 1.0))
    )
    assert table.power(0.01, "lora") == table.power(0.02, "lora") == pytest.approx(0.4)


def test_the_table_of_a_base_is_found_by_its_weights(tmp_path):
    table = PowerTable(base=("a", "b"), level=0.05, rows=(power_row(0.1, 1.0),))
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


def test_whole_networks_are_looked_up_by_their_weights():
    """By their answers the weak one has moved as far as the strong one."""
    rows = (
        power_row(0.041, 0.4, kind="dreambooth", weight_distance=0.005),
        power_row(0.049, 0.9, kind="dreambooth", weight_distance=0.014),
    )
    table = PowerTable(base=("a",), level=0.05, rows=rows)
    assert [table.power(distance, "dreambooth") for distance in (0.001, 0.005, 0.014, 0.04)] == [0.4, 0.4, 0.9, 0.9]


def test_the_shift_of_weights_is_a_share_and_an_adapter_has_none():
    pair, _, _ = world(0)
    base, tuned = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    with torch.no_grad():
        for a, b in zip(base.parameters(), tuned.parameters(), strict=True):
            b.copy_(1.25 * a)
    assert weight_distance(replace(pair, networks=(base, tuned))) == pytest.approx(0.25)
    assert weight_distance(replace(pair, networks=(base, base))) == 0
    assert weight_distance(replace(pair, networks=(base,))) is None and weight_distance(pair) is None
