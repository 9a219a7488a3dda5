"""Suspects of another trainer: the loop learns, decisions are counted right, the docs say what was counted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cgidm.judging.verdict import conformal_p_value
from cgidm.method.config import RunConfig
from cgidm.training.scoring import score_pictures
from eval.error_rates.banks.residuals import Scored
from eval.error_rates.foreign import ARMS, ForeignScores, count, foreign_text, judge_by_residuals
from eval.error_rates.foreign_trainer import ForeignConfig, Lion, train_foreign
from eval.error_rates.mirror_scores import MirrorScores
from tests.support import tiny
from tests.support.paths import RESULTS


def test_lion_moves_every_weight_by_its_rate_in_the_direction_of_the_interpolated_momentum():
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = Lion([weight], lr=0.1)
    for gradient, expected in (([2.0, -1.0], [0.9, 1.1]), ([-0.01, 0.2], [0.8, 1.0])):  # 0.9 * 0.02 > 0.1 * 0.01
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        torch.testing.assert_close(weight.data, torch.tensor(expected))


@pytest.mark.slow
def test_a_suspect_of_the_other_trainer_is_a_lora_of_network_and_text_encoder(tmp_path):
    tiny.stable_diffusion().save_pretrained(tmp_path / "base")
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, size in zip(paths, ((64, 64), (90, 64), (64, 100)), strict=True):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    config = ForeignConfig(trigger="abc", steps_per_picture=4)
    for out in ("one", "two"):
        train_foreign(tmp_path / "base", paths, tmp_path / out, config)
    train_foreign(tmp_path / "base", paths, tmp_path / "wide", replace(config, convolutions=True))
    file = "pytorch_lora_weights.safetensors"
    one, two, wide = (load_file(tmp_path / out / file) for out in ("one", "two", "wide"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert {name.partition(".")[0] for name in one} == {"unet", "text_encoder"}
    assert one.keys() < wide.keys() and any(".conv1." in name for name in wide.keys() - one.keys())
    scored = score_pictures(str(tmp_path / "base"), str(tmp_path / "one"), "abc", paths, RunConfig(loss_draws=2))
    assert min(scored.prediction_distances) > 0


def rates_of(artist, scores):
    """Models of an artist of four pictures; each left two out."""
    halves = {"s-1/m-a": (0, 1), "s-1/m-b": (2, 3), "s-2/m-a": (0, 2), "s-2/m-b": (1, 3)}
    return [
        Scored("lora", artist, name, f"art/m/{i}.jpg", i in trained, scores[name][i])
        for name, trained in halves.items()
        for i in range(4)
    ]


def test_a_suspect_stands_in_the_place_of_the_model_of_its_half():
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=4).tolist() for name in ("s-1/m-a", "s-1/m-b", "s-2/m-a", "s-2/m-b")}
    files = tuple(f"art/m/{i}.jpg" for i in range(4))
    known = {"dataset": "s-1", "concept": "m", "half": 0, "training": "x", "scores": (0.0,) * 4}
    mirror = MirrorScores(files=files, member=(1, 1, 0, 0), **known)
    found = judge_by_residuals(
        ForeignScores(mirror=mirror, contrast=(0.5, 3.0, -1.0, 0.2), distance=1.0, distance_of_null=1.0),
        rates_of("m", scores),
    )
    assert [(artist, used) for artist, used, _ in found] == [("art/m", used) for used in (True, True, False, False)]
    # the first picture was left out by the other half of the split and by one half of the other split
    others = [scores["s-1/m-b"][0], scores["s-2/m-b"][0]], [scores["s-1/m-b"][1], scores["s-2/m-a"][1]]
    nulls = [(a - b) / 2**0.5 for pair in others for a, b in (pair, pair[::-1])]
    own = (0.5 - np.mean(others[0])) / 1.5**0.5
    assert found[0][2] == pytest.approx(conformal_p_value(own, nulls))
    alone = (0.2 - scores["s-2/m-a"][3]) / 2**0.5
    assert found[3][2] == pytest.approx(conformal_p_value(alone, nulls))


def test_calls_are_counted_at_both_levels():
    found = count([("m", False, 0.03), ("m", False, 0.5), ("n", True, 0.01), ("n", True, 0.05)])
    shares = {name: rate["share"] for name, rate in found.items()}
    assert shares == {
        "false calls at 0.05": 0.5,
        "power at 0.05": 1.0,
        "false calls at 0.01": 0.0,
        "power at 0.01": 0.5,
    }


def test_the_rates_hold_for_another_trainer_or_the_bank_is_refused():
    report = json.loads((RESULTS / "mini" / "foreign" / "foreign.json").read_text())
    weak, alike, stronger, weaker, longer = report["rows"]
    assert [row["suspects of"] for row in report["rows"]] == list(ARMS)
    assert all(row["suspects"] == 18 for row in report["rows"])
    name = "false calls at 0.05"
    assert max(row["mirror"][name]["share"] for row in report["rows"]) <= 0.05
    for row in report["rows"]:
        low, high = row["mirror in a bank"][name]["interval"]
        assert (
            low <= 0.05 <= high
            and row["mirror in a bank"]["power at 0.05"]["share"] >= row["mirror"]["power at 0.05"]["share"]
        )
    low, high = alike["residuals"][name]["interval"]
    assert low <= 0.05 <= high, "trained as strongly as the bank's models"
    assert weak["residuals"][name]["interval"][0] > 0.05 and weak["refused"] == 18, "what would go wrong is refused"
    assert weaker["residuals"][name]["interval"][0] > 0.05 and weaker["refused"] == 18, "planted, and detected"
    assert stronger["refused"] >= 17 and longer["refused"] >= 14
    assert (RESULTS / "mini" / "foreign" / "foreign.md").read_text() == foreign_text(report)
