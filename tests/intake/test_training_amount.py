"""How many pictures, and how often each: by notes as the trainers write them."""

import json
from datetime import date

import pytest
from safetensors.torch import load_file, save_file

from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.layout import open_checkpoint
from cgidm.intake.note_values import read_list, read_number, read_table
from cgidm.intake.notes import read_notes
from cgidm.intake.training_amount import TrainingAmount, read_amount
from cgidm.resources import find_example
from cgidm.training.recipe_reader import read_recipe
from tests.support.errors import refuses

PRODIGY = "prodigyopt.prodigy.Prodigy(decouple=True,weight_decay=0.01)"


def kohya(folders, *, batch=1, steps, accumulated=1, devices=1, prior=0, **more):
    """Notes of kohya's `train_network.py` without a configuration file; `folders`: name -> pictures, repeats."""
    with_repeats = sum(pictures * repeats for pictures, repeats in folders.values())
    batches = -(-(with_repeats + (with_repeats if prior else 0)) // (batch * devices))
    batches = more.get("ss_num_batches_per_epoch", batches)
    of_an_epoch = -(-batches // accumulated)
    notes = {
        "ss_num_train_images": with_repeats,
        "ss_num_reg_images": prior,
        "ss_num_batches_per_epoch": batches,
        "ss_num_epochs": -(-steps // of_an_epoch),
        "ss_gradient_accumulation_steps": accumulated,
        "ss_batch_size_per_device": batch,
        "ss_total_batch_size": batch * devices * accumulated,
        "ss_dataset_dirs": json.dumps({k: {"n_repeats": r, "img_count": n} for k, (n, r) in folders.items()}),
        "ss_reg_dataset_dirs": json.dumps({"1_style": {"n_repeats": 1, "img_count": prior}} if prior else {}),
        "ss_steps": steps,
        "ss_epoch": steps // of_an_epoch,
        "ss_max_train_steps": steps,
        "ss_unet_lr": "0.0005",
        "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit",
    }
    return {key: str(value) for key, value in (notes | more).items()}


def configured(subsets, *, batch=2, steps, batches):
    """Notes of kohya's scripts with a configuration file of several sets."""
    known = [{"img_count": n, "num_repeats": r, "image_dir": name, "is_reg": reg} for name, n, r, reg in subsets]
    dirs = {name: {"n_repeats": r, "img_count": n} for name, n, r, reg in subsets if not reg}
    return {
        "ss_datasets": json.dumps([{"batch_size_per_device": batch, "subsets": known}]),
        "ss_dataset_dirs": json.dumps(dirs),
        "ss_num_batches_per_epoch": str(batches),
        "ss_gradient_accumulation_steps": "1",
        "ss_steps": str(steps),
        "ss_epoch": "3",
    }


def musubi(repeats, *, items, steps, batches, batch=1):
    datasets = [{"num_repeats": r, "batch_size_per_device": batch, "image_directory": f"set-{r}"} for r in repeats]
    numbers = {"ss_num_train_items": items, "ss_num_batches_per_epoch": batches, "ss_steps": steps}
    numbers["ss_epoch"] = steps // batches
    return {"ss_datasets": json.dumps(datasets)} | {key: str(value) for key, value in numbers.items()}


ONE_TRAINER = {
    "ot_revision": "0123abc",
    "ot_config": json.dumps({"epochs": 100, "batch_size": 2, "concepts": [{"name": "style", "balancing": 1.0}]}),
}
CASES = {  # notes -> pictures, presentations, batch
    "kohya, repeats and a batch": (kohya({"10_sks style": (20, 10)}, batch=2, steps=1000), (20, 100, 2)),
    "kohya, Prodigy": (kohya({"10_sks": (20, 10)}, batch=2, steps=1000, ss_optimizer=PRODIGY), (20, 100, 2)),
    "kohya, accumulation": (kohya({"5_a": (12, 5)}, batch=2, accumulated=3, steps=50), (12, 25, 6)),
    "kohya, two devices": (kohya({"4_a": (30, 4)}, batch=2, devices=2, steps=300), (30, 40, 4)),
    "kohya, two folders": (kohya({"10_a": (10, 10), "2_b": (40, 2)}, steps=1800), (50, 36, 1)),
    "kohya, pictures of a prior": (kohya({"10_a": (10, 10)}, steps=2000, prior=100), (10, 100, 1)),
    "kohya, saved in the middle": (kohya({"1_a": (8, 1)}, steps=20), (8, 2.5, 1)),
    "kohya, a configuration file": (
        configured([("a", 10, 4, False), ("b", 5, 4, False), ("prior", 90, 1, True)], steps=90, batches=30),
        (15, 12, 2),
    ),
    "Civitai: repeats for 200, ten epochs": (kohya({"10_sks": (20, 10)}, batch=4, steps=500), (20, 100, 4)),
    "kohya, one folder at two resolutions": (
        configured([("a", 10, 2, False), ("a (2)", 10, 3, False)], steps=100, batches=25),
        (10, 20, 2),
    ),
    "kohya, accumulation that is cut at the end of an epoch": (
        kohya({"1_a": (10, 1)}, accumulated=16, steps=7, ss_num_batches_per_epoch=10),
        (10, 7, 16),
    ),
    "musubi": (musubi([2], items=50, steps=500, batches=50), (25, 20, 1)),
    "musubi, sets of other repeats": (musubi([2, 5], items=50, steps=500, batches=50), (None, None, 1)),
    "minimum notes, since 2023": ({"ss_steps": "900", "ss_epoch": "9", "ss_num_epochs": "9"}, (None, None, None)),
    "OneTrainer": (ONE_TRAINER, (None, None, None)),
    "OneTrainer, without its configuration": ({"ot_revision": "0123abc"}, (None, None, None)),
    "ai-toolkit": (
        {"training_info": '{"step": 3000, "epoch": 60}', "software": '{"name": "ai-toolkit"}'},
        (None, None, None),
    ),
    "SimpleTuner": ({"global_step": "1000", "modelspec.architecture": "flux-1-dev"}, (None, None, None)),
    "broken": ({"ss_dataset_dirs": '{"a": {"n_repeats": "x", "img_count": -1}}', "ss_steps": "9e9"}, (None,) * 3),
}


@pytest.mark.parametrize("name", CASES)
def test_pictures_presentations_and_batch_are_right_or_not_known(name):
    notes, (pictures, presentations, batch) = CASES[name]
    found = read_amount(notes)
    assert (found.pictures, found.batch) == (pictures, batch)
    assert found.presentations == (presentations and pytest.approx(presentations, rel=0.02))
    assert all(not f.name.startswith("prior") for f in found.folders)


def test_the_day_on_which_the_training_ended_is_read():
    days = {"1700000000.5": date(2023, 11, 14), "1e9": None, "9999999999": date(2286, 11, 20), "1e300": None, "x": None}
    assert {text: read_notes({"ss_training_finished_at": text}).trained_until for text in days} == days
    assert read_notes({}).trained_until is None


def test_hostile_notes_are_no_numbers():
    assert [read_number(t) for t in ("1e3", " 2 ", "", "-1", "nan", "inf", "1e999", "9" * 400, None)] == [
        *(1000.0, 2.0),
        *(None,) * 7,
    ]
    assert (
        read_list("[" * 100_000) == [] and read_table("{" * 100_000) == {} and read_list('[1, {"a": 2}]') == [{"a": 2}]
    )
    notes = {"ss_dataset_dirs": json.dumps({"\x1b[31m" + "x" * 2000: {"n_repeats": 1, "img_count": 10**6}})}
    assert "\x1b" not in read_amount(notes).folders[0].name and len(read_amount(notes).folders[0].name) < 1000
    assert read_amount({}) == TrainingAmount()
    for number in ("1e400", "-1", "true", "9" * 400):
        huge = f'{{"a": {{"n_repeats": {number}, "img_count": {number}}}}}'
        assert read_amount({"ss_dataset_dirs": huge, "ss_epoch": "3"}).folders == ()


@pytest.fixture
def suspect(tmp_path):
    """The shipped LoRA, with these notes in its file."""

    def noted(notes):
        (shipped,) = find_example("rollandin-lora").checkpoint.glob("*.safetensors")
        save_file(load_file(shipped), tmp_path / "noted.safetensors", notes)
        return open_checkpoint(str(tmp_path / "noted.safetensors"))

    return noted


def test_null_models_are_shown_each_picture_as_often_as_the_suspect_was(suspect):
    recipe = read_recipe(suspect(kohya({"10_sks": (20, 10)}, batch=2, steps=1000)), {})
    assert (recipe.images, recipe.training.steps_per_picture, recipe.training.batch) == (20, 100, 2)
    assert recipe.training.learning_rate == 5e-4 and "steps_per_picture" in recipe.sources
    assert recipe.training.configure(pictures=20, prompt="a", class_prompt="b", seed=0).steps == 1000


def test_prodigy_is_trained_with_as_noted(suspect):
    """Its noted rate is 1, at which AdamW diverges."""
    notes = kohya({"10_sks": (20, 10)}, batch=2, steps=1000, ss_optimizer=PRODIGY, ss_unet_lr="1.0")
    recipe = read_recipe(suspect(notes), {})
    assert (recipe.training.optimizer, recipe.training.learning_rate) == ("prodigy", 1.0)
    assert recipe.training.steps_per_picture == 100 and recipe.images == 20


def test_an_optimiser_that_is_not_trained_with_is_matched_by_distance(suspect):
    """At another rate as many presentations mean something else."""
    adafactor = "transformers.optimization.Adafactor(relative_step=True)"
    notes = kohya({"10_sks": (20, 10)}, batch=2, steps=1000, ss_optimizer=adafactor, ss_unet_lr="0.01")
    recipe = read_recipe(suspect(notes), {})
    assert recipe.training.learning_rate == 1e-4 and "Adafactor" in recipe.sources["learning_rate"]
    assert "steps_per_picture" not in recipe.sources and recipe.images == 20
    given = read_recipe(suspect(notes), {"learning_rate": 3e-4, "steps_per_picture": 7}).training
    assert (given.learning_rate, given.steps_per_picture) == (3e-4, 7)


def test_eight_bits_are_trained_with_in_32_where_their_library_is_missing(suspect, monkeypatch):
    notes = kohya({"10_sks": (20, 10)}, steps=1000)
    monkeypatch.setattr("cgidm.training.recipe_reader.find_spec", lambda name: None)
    recipe = read_recipe(suspect(notes), {})
    assert recipe.training.optimizer == "adamw" and "bitsandbytes" in recipe.sources["optimizer"]
    monkeypatch.setattr("cgidm.training.recipe_reader.find_spec", lambda name: name)
    assert read_recipe(suspect(notes), {}).training.optimizer == "adamw8bit"


def test_the_tensors_of_a_file_say_what_kind_of_adapter_it_is(suspect):
    training = read_recipe(suspect({}), {}).training
    assert (training.adapter, training.layers, training.text_encoder, training.rank) == ("lora", "all", False, 16)


def test_another_optimiser_than_the_noted_one_has_a_rate_of_its_own(suspect):
    notes = kohya({"10_sks": (20, 10)}, steps=1000, ss_optimizer=PRODIGY, ss_unet_lr="1.0", ss_text_encoder_lr="1.0")
    training = read_recipe(suspect(notes), {"optimizer": "adamw"}).training
    assert (training.learning_rate, training.text_learning_rate) == (1e-4, None)
    other = notes | {"ss_optimizer": "dadaptation.DAdaptAdam"}
    training = read_recipe(suspect(other), {}).training
    assert (training.learning_rate, training.text_learning_rate) == (1e-4, None)
    training = read_recipe(suspect(other), {"optimizer": "prodigy"}).training
    assert (training.learning_rate, training.text_learning_rate) == (1.0, None)
    unrated = {"ot_config": json.dumps({"optimizer": {"optimizer": "PRODIGY"}})}
    recipe = read_recipe(suspect(unrated), {})
    assert recipe.training.learning_rate == 1.0 and "common" in recipe.sources["learning_rate"]


def test_another_rank_keeps_the_scale(suspect):
    notes = {"ss_network_alpha": "8", "ss_network_dim": "16"}
    training = read_recipe(suspect(notes), {"rank": 4}).training
    assert (training.rank, training.alpha) == (4, 2)


def test_amounts_that_no_training_follows_are_not_believed(suspect):
    folders = {"a": {"n_repeats": 10**6, "img_count": 10}}
    notes = {"ss_dataset_dirs": json.dumps(folders), "ss_epoch": "1000000", "ss_unet_lr": "5000"}
    recipe = read_recipe(suspect(notes), {})
    assert "steps_per_picture" not in recipe.sources and recipe.training.learning_rate == 1e-4
    for given in ({"images": 0}, {"steps_per_picture": -5}):
        with refuses("training.out_of_bounds", given=next(iter(given.values()))):
            read_recipe(suspect({}), given)


def test_flips_and_captions_are_trained_with_as_noted(suspect):
    notes = kohya(
        {"10_sks style": (20, 10)},
        steps=1000,
        ss_flip_aug="True",
        ss_caption_dropout_rate="0.05",
        ss_tag_frequency=json.dumps({"10_sks style": {"sks style": 20, "1girl": 10}}),
    )
    training = read_recipe(suspect(notes), {}).training
    assert training.defence == "flip" and training.caption_dropout == 0.05
    assert training.tags == (("sks style", 1.0), ("1girl", 0.5))


def test_inspect_says_how_many_pictures_and_how_often(suspect):
    notes = kohya({"10_sks style": (20, 10)}, batch=2, steps=1000, ss_training_finished_at=1700000000.0)
    found = inspect_checkpoint(suspect(notes))
    assert found["amount"]["pictures"] == 20 and found["amount"]["presentations"] == 100
    said = "\n".join(report_lines(found))
    assert "2023-11-14 (by the notes): pictures made later were not used" in said
    assert "20 pictures, each presented 100 times" in said and "10_sks style: 20 pictures, each 10 times" in said
