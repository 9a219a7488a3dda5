"""A bank of null models: what it says, and what is refused."""

import dataclasses
import json

import pytest

from cgidm import UserError
from cgidm.config import RunConfig
from cgidm.nullbank import FILE, bank_flags, check_bank, open_bank, read_bank

BANK = {
    "format": 1,
    "base": ["aa", "bb"],
    "prompt": "sks style",
    "recipe": {"mode": "lora", "rank": 4},
    "loss_draws": 20,
    "seed": 0,
    "pictures": [{"name": f"{i}.png", "sha256": f"{i:064d}"} for i in range(3)],
    "models": [
        {"folder": "a", "sha256": {}, "trained_on": [0, 1], "scores": [0.3, 0.2, -0.1], "shift": [0.1, 0.2, 0.3]},
        {"folder": "b", "sha256": {}, "trained_on": [2], "scores": [-0.2, 0.0, 0.4], "shift": [0.4, 0.4, 0.4]},
    ],
}


def written(tmp_path, **changes):
    (tmp_path / FILE).write_text(json.dumps(BANK | changes))
    return tmp_path


def test_a_score_is_null_where_the_model_was_not_trained_on_the_picture(tmp_path):
    bank = open_bank(written(tmp_path))
    assert bank.content.nulls == (-0.1, -0.2, 0.0) and bank.content.members == (0.3, 0.2, 0.4)
    assert bank.content.shifts == pytest.approx((0.2, 0.4)) and len(bank.sha256) == 64
    assert open_bank(tmp_path / FILE).sha256 == bank.sha256
    assert bank.content.power(0.25) == 1 and bank.content.power() == 0  # three nulls show no 5 %


def test_a_damaged_bank_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read.*accepted: a folder with bank.json"):
        open_bank(tmp_path)
    short = {**BANK["models"][0], "scores": [0.3]}
    for wrong in ({"format": 2}, {"models": [short]}, {"models": [{**BANK["models"][0], "trained_on": [7]}]}, {"x": 1}):
        with pytest.raises(UserError, match="is not one"):
            open_bank(written(tmp_path, **wrong))
    apart = [{**m, "trained_on": []} for m in BANK["models"]]
    every = [{**m, "trained_on": [0, 1, 2]} for m in BANK["models"]]
    for models in ([], apart, every):
        with pytest.raises(UserError, match="no picture was left out by any model, or none was trained on"):
            open_bank(written(tmp_path, models=models))
    for number in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"scores\.0: Input should be a finite number"):
            open_bank(written(tmp_path, models=[{**BANK["models"][0], "scores": [number, 0.0, 0.0]}]))
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UserError, match="is not one"):
        open_bank(tmp_path)


def test_what_a_hostile_bank_is_refused_with_is_one_short_line():
    data = json.dumps(BANK | {"x\n\x1b[31m" * 1000: 1, "prompt": "y\n" * 10_000}).encode()
    with pytest.raises(UserError) as error:
        read_bank(data, "bank.json")
    assert str(error.value).startswith("bank bank.json is not one") and len(str(error.value)) < 500
    bank = read_bank(json.dumps(BANK | {"prompt": "y\n" * 10_000}).encode(), "bank.json")
    with pytest.raises(UserError) as error:
        check_bank(bank, {"a": "aa", "b": "bb"}, RunConfig(), "sks style")
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


def test_a_bank_for_another_run_is_refused(tmp_path):
    bank, config = open_bank(written(tmp_path)), RunConfig()
    weights = {"base/unet": "bb", "base/vae": "aa", "suspect/unet": "cc"}
    check_bank(bank, weights, config, "sks style")
    with pytest.raises(UserError, match="another base model"):
        check_bank(bank, {"base/unet": "bb"}, config)
    with pytest.raises(UserError, match="the prompt 'sks style', 'x' was given"):
        check_bank(bank, weights, config, "x")
    for changes, said in (
        ({"loss_draws": 5}, "loss_draws 20, the run has 5"),
        ({"seed": 3}, "seed 0, the run has 3"),
        ({"views": ("as given", "mirrored")}, "a search"),
    ):
        with pytest.raises(UserError, match=said):
            check_bank(bank, weights, dataclasses.replace(config, **changes))


def test_a_suspect_that_was_trained_otherwise_is_not_comparable(tmp_path):
    bank = open_bank(written(tmp_path)).content
    assert bank_flags(bank, [0.3, 0.1]) == bank_flags(bank, [0.8]) == bank_flags(bank, []) == ()
    for mean in (0.05, 0.9):
        (flag,) = bank_flags(bank, [mean])
        assert flag.name == "other_recipe" and flag.blocks_verdict
    (flag,) = bank_flags(open_bank(written(tmp_path, decoys=True)).content, [0.3])
    assert flag.name == "other_hands" and not flag.blocks_verdict
