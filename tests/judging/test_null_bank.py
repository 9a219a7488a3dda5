"""A bank of null models: what it says, and what is refused."""

import dataclasses
import json

import torch

from cgidm.judging.banks.null_bank import (
    FILE,
    FORMAT,
    OTHER_PICTURES_RANGE,
    SAME_PICTURES_RANGE,
    bank_flags,
    check_bank,
    open_bank,
    read_bank,
)
from cgidm.method.config import RunConfig
from tests.support.errors import refuses
from tests.support.worlds import world

BANK = {
    "format": 2,
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


def whole(*moved, **changes):
    """The bank's models as whole networks whose weights have moved so far."""
    models = [model | {"weight_shift": m} for model, m in zip(BANK["models"], moved, strict=True)]
    return {"recipe": {"mode": "dreambooth"}, "models": models, **changes}


def told(pair):
    """What of a pair a bank is compared with."""
    return pair.fingerprints, pair.is_full_network


def pair_of(networks, **fingerprints):
    module = torch.nn.Linear(1, 1)
    return dataclasses.replace(world(0)[0], networks=(module,) * networks, fingerprints=fingerprints)


def test_a_score_is_null_where_the_model_was_not_trained_on_the_picture(tmp_path):
    bank = open_bank(written(tmp_path))
    assert bank.content.nulls == (-0.1, -0.2, 0.0) and bank.content.members == (0.3, 0.2, 0.4)
    assert len(bank.sha256) == 64
    assert open_bank(tmp_path / FILE).sha256 == bank.sha256
    assert [bank.content.scores_without(i) for i in range(3)] == [[-0.2], [0.0], [-0.1]]


def test_a_damaged_bank_is_refused(tmp_path):
    with refuses("judging.bank.unreadable"):
        open_bank(tmp_path)
    first = BANK["models"][0]
    damaged = [{"scores": [0.3]}, {"trained_on": [7]}, {"weight_shift": float("nan")}]
    for wrong in ({"format": 4}, {"x": 1}, whole(0.1, None), *({"models": [first | d]} for d in damaged)):
        with refuses("judging.bank.damaged"):
            open_bank(written(tmp_path, **wrong))
    apart = [{**m, "trained_on": []} for m in BANK["models"]]
    every = [{**m, "trained_on": [0, 1, 2]} for m in BANK["models"]]
    for models in ([], apart, every):
        with refuses("judging.bank.damaged") as error:
            open_bank(written(tmp_path, models=models))
        assert "no picture was left out by any model, or none was trained on" in error.value.params["problem"]
    for number in (float("nan"), float("inf")):
        with refuses("judging.bank.damaged", where="models.0.scores.0", problem="Input should be a finite number"):
            open_bank(written(tmp_path, models=[{**BANK["models"][0], "scores": [number, 0.0, 0.0]}]))
    (tmp_path / FILE).write_text("{")
    with refuses("judging.bank.damaged"):
        open_bank(tmp_path)


def test_an_older_bank_of_adapters_is_read_and_one_of_whole_networks_refused(tmp_path):
    assert open_bank(written(tmp_path, format=1)).content.nulls == (-0.1, -0.2, 0.0)
    for recipe in ({"mode": "dreambooth"}, {"mode": "dreambooth-prior"}, {}):
        with refuses("judging.bank.old_format", format=1, expected=FORMAT):
            open_bank(written(tmp_path, format=1, recipe=recipe))


def test_every_picture_has_a_score_of_the_mirror_test_or_none_has(tmp_path):
    assert open_bank(written(tmp_path, format=3)).content.mirror_draws == 0
    scored = [m | {"mirror_scores": [2.0, None, 0.5]} for m in BANK["models"]]
    assert open_bank(written(tmp_path, format=3, mirror_draws=24, models=scored)).content.mirror_draws == 24
    short = [scored[0], scored[1] | {"mirror_scores": [0.1, 0.2]}]
    endless = [scored[0], scored[1] | {"mirror_scores": [0.1, 0.2, float("inf")]}]
    for wrong in (
        {"mirror_draws": 24},  # without scores
        {"models": scored},  # of how many draws?
        {"mirror_draws": 24, "models": short},
        {"mirror_draws": 24, "models": endless},
        {"mirror_draws": -24, "models": scored},
        {"format": 2, "mirror_draws": 24, "models": scored},  # which had none
    ):
        with refuses("judging.bank.damaged"):
            open_bank(written(tmp_path, **{"format": 3, **wrong}))


def test_what_a_hostile_bank_is_refused_with_is_one_short_line():
    data = json.dumps(BANK | {"x\n\x1b[31m" * 1000: 1, "prompt": "y\n" * 10_000}).encode()
    with refuses("judging.bank.damaged", bank="bank.json") as error:
        read_bank(data, "bank.json")
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)
    bank = read_bank(json.dumps(BANK | {"prompt": "y\n" * 10_000}).encode(), "bank.json")
    with refuses("judging.bank.other_prompt", given="sks style") as error:
        check_bank(bank, *told(pair_of(1, a="aa", b="bb")), RunConfig(), ["sks style"])
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


def test_a_bank_for_another_run_is_refused(tmp_path):
    bank, config = open_bank(written(tmp_path)), RunConfig()
    weights = {"base/unet": "bb", "base/vae": "aa", "suspect/unet": "cc"}
    pair = pair_of(1, **weights)
    check_bank(bank, *told(pair), config, ["sks style"])
    with refuses("judging.bank.other_base"):
        check_bank(bank, *told(pair_of(1, base="bb")), config)
    with refuses("judging.bank.other_prompt", expected="sks style", given="x"):
        check_bank(bank, *told(pair), config, ["x"])
    for name, expected, given in (("loss_draws", 20, 5), ("seed", 0, 3)):
        with refuses("judging.bank.other_setting", name=name, expected=expected, given=given):
            check_bank(bank, *told(pair), dataclasses.replace(config, **{name: given}))
    with refuses("judging.bank.without_views"):
        check_bank(bank, *told(pair), dataclasses.replace(config, views=("as given", "mirrored")))


def test_adapters_and_whole_networks_are_not_compared(tmp_path):
    weights = {"base/unet": "bb", "base/vae": "aa"}
    with refuses("judging.bank.of_adapters"):
        check_bank(open_bank(written(tmp_path)), *told(pair_of(2, **weights)), RunConfig())
    bank = open_bank(written(tmp_path, **whole(0.03, 0.04)))
    check_bank(bank, *told(pair_of(2, **weights)), RunConfig())
    with refuses("judging.bank.of_full_networks"):
        check_bank(bank, *told(pair_of(1, **weights)), RunConfig())


def test_adapters_are_compared_by_answers_about_the_pictures_that_both_know(tmp_path):
    """How far answers move depends on the picture: those about the first one, here, by a tenth of the others."""
    shifts = ([0.1, 1.0, 1.0], [0.2, 2.0, 2.0])
    models = [m | {"shift": shift} for m, shift in zip(BANK["models"], shifts, strict=True)]
    bank = open_bank(written(tmp_path, models=models)).content
    first, second, _ = (p["sha256"] for p in BANK["pictures"])
    for same in ({first: 0.1}, {first: 0.2, "x": 9.0}, {second: 1.5}, {first: 0.1, second: 1.0}):
        assert bank_flags(bank, same, None) == ()
    for end, factor in ((0.1 / SAME_PICTURES_RANGE, 0.99), (0.2 * SAME_PICTURES_RANGE, 1.01)):
        assert bank_flags(bank, {first: end / factor}, None) == ()
        (flag,) = bank_flags(bank, {first: end * factor}, None)
        assert flag.name == "other_recipe" and flag.blocks_verdict
    assert bank_flags(bank, {first: 1.0}, None) != () != bank_flags(bank, {second: 0.1}, None)


def test_pictures_that_the_bank_has_not_tell_less(tmp_path):
    bank = open_bank(written(tmp_path)).content  # its models have moved by 0.2 and 0.4
    assert bank_flags(bank, {}, None) == ()  # a run that was stopped
    for mean in (1.01 * 0.2 / OTHER_PICTURES_RANGE, 0.3, 0.99 * 0.4 * OTHER_PICTURES_RANGE):
        assert bank_flags(bank, {"x": mean - 0.01, "y": mean + 0.01}, None) == ()
    for mean in (0.99 * 0.2 / OTHER_PICTURES_RANGE, 1.01 * 0.4 * OTHER_PICTURES_RANGE):
        assert [f.name for f in bank_flags(bank, {"x": mean}, None)] == ["other_recipe"]
    (flag,) = bank_flags(open_bank(written(tmp_path, decoys=True)).content, {"x": 0.3}, None)
    assert flag.name == "other_hands" and not flag.blocks_verdict


def test_whole_networks_are_compared_by_weights(tmp_path):
    """Their answers are moved as far by the first steps as by all others."""
    bank = open_bank(written(tmp_path, **whole(0.03, 0.04))).content
    for moved in (0.03, 0.035, 1.01 * 0.03 / SAME_PICTURES_RANGE, 0.99 * 0.04 * SAME_PICTURES_RANGE):
        assert bank_flags(bank, {"x": 9.0}, moved) == ()
    for moved in (0.0, 0.99 * 0.03 / SAME_PICTURES_RANGE, 1.01 * 0.04 * SAME_PICTURES_RANGE):
        (flag,) = bank_flags(bank, {"x": 0.3}, moved)
        assert flag.name == "other_recipe" and flag.blocks_verdict
