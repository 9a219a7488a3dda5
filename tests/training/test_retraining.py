"""Models of a bank that are trained again: the true bank is accepted, a score that was moved is found."""

import dataclasses
import json
import shutil
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cgidm.cli import main
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.reruns import retrain_bank
from cgidm.evidence.reruns.kept_weights import find_kept, place_weights, weights_difference
from cgidm.evidence.seal import bundle_record
from cgidm.files import hash_file
from cgidm.judging.banks.null_bank import Bank, NullBank, open_bank
from cgidm.method.config import RunConfig
from cgidm.training.null_models import BankPlan, build_bank
from cgidm.training.recipe import TrainingRecipe
from cgidm.training.recipe_reader import SuspectRecipe
from cgidm.training.retraining import (
    SCORE_TOLERANCE,
    draw_models,
    find_odd_splits,
    find_pictures,
    plan_retraining,
    retrain,
    score_again,
)
from cgidm.training.scoring import score_pictures
from cgidm.training.trainer import FinetuneConfig, finetune
from tests.support import tiny
from tests.support.errors import refuses
from tests.support.paths import ASSETS, RESULTS
from tests.support.quick_presets import DRAWS, MIRROR_DRAWS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_draws", "without_pages")]

PROMPT, MOVED, MIRROR_MOVED = "abc", 0.05, 0.1
STEP = {"steps_per_picture": 2, "batch": 2, "learning_rate": 1e-2, "rank": 2}
SEALS = [f"{n:064x}" for n in range(4000)]


def noise(folder, count, seed):
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for i in range(count):
        path = folder / f"{i:02d}.png"
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        path.with_suffix(".txt").write_text(f"abc {i}")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base, ten works, pictures by other hands, a suspect; a plain bank, and one with captions and other hands."""
    place = tmp_path_factory.mktemp("retraining")
    tiny.stable_diffusion().save_pretrained(place / "base")
    noise(place / "works", 10, 0)
    noise(place / "others", 3, 1)
    config = FinetuneConfig(mode="lora", prompt=PROMPT, steps=5, batch=2, learning_rate=1e-2, rank=2, seed=9)
    finetune(place / "base", sorted((place / "works").glob("*.png"))[::2], place / "suspect", config)
    recipe = SuspectRecipe(TrainingRecipe(mode="lora", **STEP), None, dict.fromkeys(STEP, "given"))
    plan = BankPlan(
        base=str(place / "base"),
        folders=(place / "works",),
        models=4,
        out=place / "plain",
        prompt=PROMPT,
        class_prompt="ab",
        config=RunConfig(loss_draws=DRAWS, mirror_draws=MIRROR_DRAWS),
    )
    build_bank(plan, recipe)
    build_bank(dataclasses.replace(plan, out=place / "mixed", fillers=place / "others", captions=True), recipe)
    return place


def altered(bank, change):
    """The bank with its plain data changed."""
    table = bank.content.model_dump()
    change(table)
    data = json.dumps(table).encode()
    return Bank(NullBank.model_validate_json(data), bank.name, data)


def again(place, name, number, work, bank=None):
    bank = bank or open_bank(place / name)
    pictures = find_pictures(bank, [number], [place / "works", place / "others"])
    return retrain(bank, number, str(place / "base"), pictures, work)


@pytest.mark.parametrize("name", ["plain", "mixed"])
@pytest.mark.parametrize("number", [0, 3])
def test_a_model_of_a_true_bank_comes_out_to_the_last_bit(place, name, number, tmp_path):
    found = again(place, name, number, tmp_path)
    assert found.agrees and found.weights_are_equal and found.is_stated_training
    assert found.largest_difference == 0.0


def test_each_model_is_scored_again_from_its_kept_weights_and_any_score_that_was_moved_is_found(place, tmp_path):
    bank = open_bank(place / "plain")
    pictures = find_pictures(bank, [], [place / "works"])
    kept = find_kept(bank, place / "plain")
    assert sorted(kept.unaltered) == [0, 1, 2, 3] and not kept.altered
    for number, files in kept.unaltered.items():
        like = place / "plain" / bank.content.models[0].folder
        assert place_weights(files, like, tmp_path / str(number)) is None
        found = score_again(bank, number, str(place / "base"), pictures, tmp_path / str(number))
        assert found.agrees and found.largest_difference == 0.0
        scores = found.stated.scores
        for i, score in enumerate(scores):
            moved = found.stated.model_copy(update={"scores": (*scores[:i], score + MOVED, *scores[i + 1 :])})
            assert dataclasses.replace(found, stated=moved).differing == (i,)
        mirrored = found.stated.mirror_scores
        assert found.found.mirror_scores == mirrored and None not in mirrored
        for i, score in enumerate(mirrored):
            for other in (score + MIRROR_MOVED, None):
                moved = found.stated.model_copy(update={"mirror_scores": (*mirrored[:i], other, *mirrored[i + 1 :])})
                forged = dataclasses.replace(found, stated=moved)
                assert forged.differing_in_mirror == (i,) and not forged.differing and not forged.agrees
        assert weights_difference(files, place / "plain" / bank.content.models[number].folder) == 0.0
        assert (weights_difference(files, like) > 0.1) == (number > 0)


def test_each_score_that_is_moved_is_found_in_the_model_that_is_trained_again(place, tmp_path):
    found = again(place, "plain", 1, tmp_path)
    scores = found.stated.scores
    for i, score in enumerate(scores):
        moved = found.stated.model_copy(update={"scores": (*scores[:i], score - MOVED, *scores[i + 1 :])})
        other = dataclasses.replace(found, stated=moved)
        assert not other.agrees and other.differing == (i,)
    distances = tuple(1.1 * d for d in found.stated.prediction_distances)
    assert not dataclasses.replace(
        found, stated=found.stated.model_copy(update={"prediction_distances": distances})
    ).agrees


def test_another_recipe_gives_other_scores_and_is_said_to_be_another_training(place, tmp_path):
    bank = altered(open_bank(place / "plain"), lambda table: table["recipe"].update(steps_per_picture=20))
    found = again(place, "plain", 0, tmp_path, bank)
    assert not found.agrees and not found.is_stated_training and not found.weights_are_equal


def test_models_are_drawn_by_the_seal_and_by_a_word_evenly_and_all_if_so_many_are_wanted():
    drawn = [draw_models(8, 1, seal, "a") for seal in SEALS]
    assert drawn == [draw_models(8, 1, seal, "a") for seal in SEALS]
    counts = Counter(drawn)
    assert len(counts) == 8 and min(counts.values()) > 400 and max(counts.values()) < 600
    assert draw_models(8, 8, SEALS[0], "a") == draw_models(8, 99, SEALS[1], "b") == tuple(range(8))
    assert all(len(set(draw_models(8, 3, seal, "a"))) == 3 for seal in SEALS[:50])


def test_a_seal_that_was_sought_until_it_drew_a_model_draws_any_with_the_words_of_a_checker():
    """A forger tries seals, by changing a date, until a word of theirs, or none, draws a model that is not forged."""
    for word in ("", "mine"):
        ground = next(seal for seal in SEALS if draw_models(8, 1, seal, word) == (5,))
        counts = Counter(draw_models(8, 1, ground, f"{n:08x}") for n in range(4000))
        assert len(counts) == 8 and min(counts.values()) > 400 and max(counts.values()) < 600


def test_halves_that_are_not_drawn_are_found_without_a_training(place):
    bank = open_bank(place / "plain")
    assert find_odd_splits(bank) == ()

    def swap(table):
        half = table["models"][2]["trained_on"]
        other = next(i for i in range(10) if i not in half)
        table["models"][2]["trained_on"] = sorted([*half[1:], other])

    assert find_odd_splits(altered(bank, swap)) == (2,)
    assert find_odd_splits(altered(bank, lambda table: (swap(table), table.update(decoys=True)))) == ()
    half = bank.content.models[1].trained_on
    for i in half:  # one model learnt from fewer pictures than the others

        def drop(table, i=i):
            table["models"][1]["trained_on"] = [j for j in half if j != i]

        assert find_odd_splits(altered(bank, drop)) == (1,)


def test_what_is_missing_is_said(place, tmp_path):
    plain, mixed = (open_bank(place / name) for name in ("plain", "mixed"))
    with refuses("training.retraining.pictures", needed=10, missing=10):
        find_pictures(plain, [0], [place / "others"])
    with refuses("training.retraining.pictures", needed=13, missing=3):
        find_pictures(mixed, [0], [place / "works"])
    pictures = find_pictures(mixed, [0], [place / "works", place / "others"])
    without = altered(mixed, lambda table: [m.update(fillers=[]) for m in table["models"]])
    with refuses("training.retraining.fillers", fillers=3):
        plan_retraining(without, 0, pictures)
    odd = altered(plain, lambda table: table["recipe"].update(magic=1))
    with refuses("training.retraining.recipe"):
        plan_retraining(odd, 0, pictures)
    tiny.stable_diffusion(seed=1).save_pretrained(tmp_path / "other")
    with refuses("training.retraining.base"):
        retrain(plain, 0, str(tmp_path / "other"), pictures, tmp_path / "work")


def forge(place, name, change):
    """Copy the plain bank with its plain data changed, and seal a run that it judged."""
    shutil.copytree(place / "plain", place / name)
    (place / name / "bank.json").write_bytes(altered(open_bank(place / "plain"), change).data)
    seal_run(place, name)


def seal_run(place, name):
    models = ["--base", str(place / "base"), "--suspect", str(place / "suspect"), "--prompt", PROMPT]
    how = ["--preset", "fast", "--steps", "2", "--bank", str(place / name), "--out", str(place / f"{name}-out")]
    assert main(["authenticate", str(place / "works" / "00.png"), *models, *how]) == 0


def move_score(table):
    """Move the score of the picture in question under the third model."""
    i = next(i for i, p in enumerate(table["pictures"]) if p["name"] == "00.png")
    table["models"][2]["scores"] = [s + MOVED * (n == i) for n, s in enumerate(table["models"][2]["scores"])]


@pytest.fixture(scope="module")
def bundles(place):
    """A run that was judged by the true bank, and one by a bank one of whose scores was moved."""
    seal_run(place, "plain")
    forge(place, "moved", move_score)
    return place


def verify(capsys, place, name, *more):
    capsys.readouterr()
    code = main(["verify", str(place / f"{name}-out"), *map(str, more)])
    said = capsys.readouterr()
    return code, said.out, said.err


def words_by_model(place, name):
    """Which word draws which model of four."""
    seal = (place / f"{name}-out" / "seal.txt").read_text()[:64]
    return {draw_models(4, 1, seal, word)[0]: word for word in map(str, range(60))}


def test_one_training_and_the_kept_weights_find_a_moved_score_of_a_model_that_is_not_drawn(bundles, capsys):
    given = ("--retrain", 1, "--bank-pictures", bundles / "works")
    code, said, _ = verify(capsys, bundles, "plain", *given, "--bank", bundles / "plain")
    assert code == 0 and "bank trained again (1 of 4 models; scores of all 4 computed again)" in said.splitlines()[-1]
    assert "largest difference of a score 0.0e+00" in said and "--retrain 4 trains all" in said
    kept = ("--bank", bundles / "moved", "--draw", words_by_model(bundles, "moved")[3])
    code, said, _ = verify(capsys, bundles, "moved", *given, *kept)
    assert code == 1 and "bank NOT the same when trained again (1 of 4 models" in said.splitlines()[-1]
    assert "model 3 of 4, scored again from its kept weights: NOT the same" in said
    assert "model 4 of 4, trained again: the same" in said
    assert said.count("NOT the same;") == 1 and "  00.png: stated" in said


def test_without_the_weights_a_moved_score_is_found_if_its_model_is_drawn(bundles, capsys, monkeypatch):
    given, words = ("--retrain", 1, "--bank-pictures", bundles / "works"), words_by_model(bundles, "plain")
    monkeypatch.setattr(retrain_bank.secrets, "token_hex", {4: words[3]}.__getitem__)
    code, said, _ = verify(capsys, bundles, "plain", *given)
    assert code == 0 and "bank trained again (1 of 4 models)" in said.splitlines()[-1]
    assert "the other 3 models were neither trained nor scored again" in said and "with a chance of 1 in 4" in said
    assert "4 models: 4\n" in said and f"a word that was drawn now: --draw {words[3]} draws the same" in said
    words = words_by_model(bundles, "moved")
    for number in (1, 2):
        code, said, _ = verify(capsys, bundles, "moved", *given, "--draw", words[number])
        assert code == (number == 2) and f"4 models: {number + 1}\n" in said and "the word that you gave" in said
        assert ("model 3 of 4, trained again: NOT the same" in said) == (number == 2)


@pytest.fixture(scope="module")
def other_weights(bundles):
    """A bank one of whose models was trained on everything: its weights are kept, and have the stated digests."""

    def change(table):
        model = table["models"][1]
        config = FinetuneConfig(mode="lora", prompt=PROMPT, steps=40, batch=2, learning_rate=1e-2, rank=2, seed=5)
        finetune(bundles / "base", sorted((bundles / "works").glob("*.png")), bundles / "forged", config)
        (weights,) = model["sha256"]
        model["sha256"] = {weights: hash_file(bundles / "forged" / weights)}
        files = [bundles / "works" / p["name"] for p in table["pictures"]]
        config = RunConfig(loss_draws=DRAWS, mirror_draws=MIRROR_DRAWS)
        models = str(bundles / "base"), str(bundles / "forged")
        found = score_pictures(*models, PROMPT, files, config, base_losses={})
        model["scores"], model["shift"] = found.scores, found.prediction_distances
        model["mirror_scores"] = found.mirror_scores

    forge(bundles, "weights", change)
    shutil.copy(
        next((bundles / "forged").glob("*.safetensors")), next((bundles / "weights").glob("**/01-*/checkpoint"))
    )
    return bundles


def test_weights_of_another_training_are_refused_if_they_are_drawn(other_weights, capsys):
    words = words_by_model(other_weights, "weights")
    given = ("--retrain", 1, "--bank-pictures", other_weights / "works", "--bank", other_weights / "weights")
    code, said, _ = verify(capsys, other_weights, "weights", *given, "--draw", words[1])
    assert code == 1 and "model 2 of 4, trained again: NOT the same" in said and "away from the kept ones" in said
    assert "scored again from their kept weights: 4 of 4 models, the same" in said


def test_kept_weights_that_are_not_the_stated_ones_are_named(bundles, tmp_path, capsys):
    given = ("--retrain", 1, "--bank-pictures", bundles / "works", "--bank", tmp_path / "bank", "--draw", "a")
    shutil.copytree(bundles / "plain", tmp_path / "bank")
    checkpoints = [tmp_path / "bank" / m.folder for m in open_bank(tmp_path / "bank").content.models]
    next(checkpoints[0].iterdir()).unlink()  # not kept
    (weights,) = checkpoints[2].iterdir()
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, said, _ = verify(capsys, bundles, "plain", *given)
    assert code == 1 and "model 3 of 4: its kept weights are NOT the stated ones" in said
    assert "(1 of 4 models; scores of 2 computed again)" in said.splitlines()[-1]


def test_a_picture_in_question_that_is_not_the_banks_of_the_same_digest_is_named(bundles):
    bank = open_bank(bundles / "plain")
    with open_bundle(bundles / "plain-out") as bundle:
        record = bundle_record(bundle)
        (picture,) = record.pictures
        other = next(p.sha256 for p in bank.content.pictures if p.sha256 != picture.sha256)
        for sha256, agrees in ((picture.sha256, [True]), (other, [False]), ("0" * 64, [])):
            stated = dataclasses.replace(record, pictures=(dataclasses.replace(picture, sha256=sha256),))
            found = retrain_bank._own_pictures(bundle, stated, bank, [bundles / "works"])
            assert [check.agrees for check in found] == agrees


def test_nothing_is_read_outside_of_a_banks_folder_or_beside_its_weights(place, tmp_path):
    bank = open_bank(place / "plain")
    name = next(iter(bank.content.models[0].sha256))
    for folder, file in (("../plain/x", name), ("/etc", "passwd"), (bank.content.models[0].folder, "../" + name)):
        odd = altered(bank, lambda table, f=folder, n=file: table["models"][0].update(folder=f, sha256={n: "0" * 64}))
        kept = find_kept(odd, place / "plain")
        assert 0 not in kept.unaltered and 0 not in kept.altered and sorted(kept.unaltered) == [1, 2, 3]
    shutil.copytree(place / "plain", tmp_path / "bank")
    (tmp_path / "bank" / bank.content.models[0].folder / "adapter_config.json").write_text("{}")
    files = find_kept(bank, tmp_path / "bank").unaltered[0]
    assert place_weights(files, place / "plain" / bank.content.models[1].folder, tmp_path / "made") is None
    assert [p.name for p in (tmp_path / "made").iterdir()] == [name]


def test_verify_says_what_a_retraining_lacks(bundles, capsys):
    code, _, said = verify(capsys, bundles, "plain", "--retrain", 1)
    assert code == 2 and "--bank-pictures" in said and "all 10, and 0 pictures by other hands" in said
    code, _, said = verify(capsys, bundles, "plain", "--retrain", 0, "--bank-pictures", bundles / "works")
    assert code == 2 and "got 0" in said
    code, said, _ = verify(capsys, bundles, "plain")
    assert code == 0 and "trained again" not in said.splitlines()[-1]


@pytest.mark.soak
@pytest.mark.parametrize("name", ["rollandin-lora", "gerald-g-dreambooth"])
def test_a_shipped_bank_is_accepted_in_five_minutes_and_not_with_a_score_moved(name, tmp_path):
    bank, examples = open_bank(ASSETS / "banks" / name), ASSETS / "examples" / name
    assert find_odd_splits(bank) == ()
    begun = time.process_time()  # of one thread, whatever else the machine does
    pictures = find_pictures(bank, [0], [examples / "member", examples / "holdout"])
    found = retrain(bank, 0, str(ASSETS / "mini"), pictures, tmp_path)
    trained = time.process_time() - begun
    kept = score_again(bank, 0, str(ASSETS / "mini"), pictures, found.folder)
    assert kept.found == found.found
    assert trained + len(bank.content.models) * (time.process_time() - begun - trained) < 300
    assert found.agrees and found.is_stated_training and found.largest_difference < SCORE_TOLERANCE / 100
    scores = found.stated.scores
    for i in range(len(scores)):
        moved = found.stated.model_copy(update={"scores": (*scores[:i], scores[i] + MOVED, *scores[i + 1 :])})
        assert dataclasses.replace(found, stated=moved).differing == (i,)


def test_the_tolerance_is_far_above_what_was_measured_and_far_below_a_score_that_matters():
    rows = json.loads((RESULTS / "retraining.json").read_text())["rows"]
    assert {r["bank"] for r in rows} == {"gerald-g-dreambooth", "rollandin-lora"} and all(r["accepted"] for r in rows)
    assert 100 * max(r["scores"] for r in rows) < SCORE_TOLERANCE <= MOVED / 5
