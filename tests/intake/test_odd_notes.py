"""Notes that no trainer should write and files have all the same; and every note of use is used or printed."""

import hashlib
import json
from datetime import date

import pytest
from safetensors.torch import load_file, save_file

from cgidm.framing.kohya import Kohya
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.layout import open_checkpoint
from cgidm.intake.likely_framing import likely_framing
from cgidm.intake.note_values import read_count, read_number, read_switch
from cgidm.intake.notes import read_notes
from cgidm.intake.training_amount import read_amount
from cgidm.intake.training_notes import read_training
from cgidm.resources import find_example
from cgidm.training.recipe_reader import read_recipe
from tests.support.paths import ROOT

REAL = ROOT / "tests" / "intake" / "real_notes"
ABSENT = ("None", "null", "NaN", "nan", "N/A", "undefined", "", "  ")


def published(name):
    """A published table as a file's header holds it."""
    notes = json.loads((REAL / f"{name}.json").read_text("utf-8"))["notes"]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in notes.items()}


SURTR, PEPPER = published("kohya_lycoris_batch_8"), published("civitai_pepper")


@pytest.fixture(scope="module")
def tensors():
    (shipped,) = find_example("rollandin-lora").checkpoint.glob("*.safetensors")
    return load_file(shipped)


@pytest.fixture
def suspect(tmp_path, tensors):
    """The shipped LoRA, with these notes in its file."""

    def noted(notes):
        save_file(tensors, tmp_path / "noted.safetensors", notes)
        return open_checkpoint(str(tmp_path / "noted.safetensors"))

    return noted


def codes(notes):
    return [contradiction.code for contradiction in read_amount(notes).contradictions]


@pytest.mark.parametrize("text", ABSENT)
def test_a_value_that_says_there_is_none_is_as_if_the_note_were_missing(text):
    blank = dict.fromkeys(SURTR, text)
    assert read_amount(blank) == read_amount({})
    assert read_training(blank) == read_training({})
    assert read_notes(blank) == read_notes({})


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *((46, 46), ("46", 46), (46.0, 46), ("46.0", 46), ("4.6e1", 46), (" 46 ", 46)),
        *((46.5, None), ("46 pictures", None), (True, None), (None, None), ([46], None), (0, None), (-1, None)),
        *((10**30, None), ("9" * 40, None), (float("nan"), None), (float("inf"), None), ("∞", None)),
    ],
)
def test_a_count_is_a_whole_number_as_number_or_as_text(value, count):
    assert read_count(value) == count
    folders = {"ss_dataset_dirs": json.dumps({"a": {"n_repeats": 1, "img_count": value}}), "ss_epoch": "2"}
    assert read_amount(folders).pictures == count


def test_numbers_have_a_sign_of_the_exponent_in_either_case():
    assert read_number("1E-4") == read_number("1e-4") == 1e-4


def test_a_switch_is_on_or_off_as_json_and_as_text_and_else_not_known():
    assert [read_switch(value) for value in (True, 1, "True", "true", " 1 ")] == [True] * 5
    assert [read_switch(value) for value in (False, 0, "False", "false", "0")] == [False] * 5
    assert [read_switch(value) for value in (*ABSENT, None, [1], {}, 2, 1.5, "yes")] == [None] * (len(ABSENT) + 6)
    assert read_notes({"ss_datasets": json.dumps([{"flip_aug": "false"}])}).mirrored is False
    assert read_notes({"ss_flip_aug": "None"}).mirrored is None  # not known is not "no"


def test_folders_in_other_writing_systems_are_named_as_they_are():
    folders = {"10_凛 スタイル": {"n_repeats": 10, "img_count": 5}, "2_Мария": {"n_repeats": 2, "img_count": 10}}
    notes = {"ss_dataset_dirs": json.dumps(folders), "ss_tag_frequency": json.dumps({key: {} for key in folders})}
    found = read_amount(notes | {"ss_epoch": "3"})
    assert [folder.name for folder in found.folders] == list(folders)
    assert found.presentations == pytest.approx((50 + 20) / 15 * 3)
    assert read_notes(notes).prompt == "凛 スタイル"


def test_an_epoch_that_was_planned_is_none_that_was_run():
    steps = {"ss_steps", "ss_epoch"}
    planned = {key: value for key, value in PEPPER.items() if key not in steps}
    assert read_amount(planned).presentations is None  # 10 epochs and 740 steps are planned
    assert read_amount(planned | {"ss_epoch": "6"}).presentations == 12
    assert read_amount(planned | {"ss_steps": "444"}).presentations == 12
    fields = read_notes(PEPPER).fields
    assert [fields[name] for name in ("epochs", "epochs planned", "steps", "steps planned")] == [
        "6",
        "10",
        "444",
        "740",
    ]
    assert {"epochs", "steps"}.isdisjoint(read_notes(planned).fields)


def test_an_epoch_of_which_less_was_planned_was_not_run_whole():
    early = {key: value for key, value in PEPPER.items() if key != "ss_steps"}
    assert read_amount(early | {"ss_max_train_steps": "400"}).presentations == pytest.approx(2 * 400 / 74)
    assert read_amount(early | {"ss_epoch": "0"}).presentations is None  # the first epoch is not over


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ss_steps": "42240", "ss_max_train_steps": "42240"}, "intake.notes_epochs_disagree"),
        ({"ss_epoch": "2"}, "intake.notes_epochs_disagree"),
        ({"ss_num_train_images": "2716"}, "intake.notes_pictures_disagree"),
        (
            {"ss_dataset_dirs": json.dumps({"1_1girl": {"n_repeats": 1, "img_count": 700}})},
            "intake.notes_pictures_disagree",
        ),
        ({"ss_total_batch_size": "2"}, "intake.notes_batches_disagree"),
        ({"ss_max_train_steps": "2112"}, "intake.notes_steps_disagree"),
    ],
)
def test_notes_that_contradict_one_another_are_named_and_not_trained_after(changed, code, suspect):
    assert codes(SURTR) == codes(PEPPER) == []
    notes = SURTR | changed
    assert codes(notes) == [code] and read_amount(notes).presentations is None
    checkpoint = suspect(notes)
    assert "contradict one another" in "\n".join(report_lines(inspect_checkpoint(checkpoint)))
    assert "steps_per_picture" not in read_recipe(checkpoint, {}).sources


def test_an_epoch_that_has_only_begun_is_no_contradiction():
    for steps, epoch in (("440", "3"), ("440", "2"), ("352", "2"), ("100", "0"), ("100", "1")):
        assert codes(SURTR | {"ss_steps": steps, "ss_epoch": epoch}) == []


def test_devices_that_a_configuration_file_leaves_out_are_counted():
    """Two of them: each has half of the batches."""
    subset = {"img_count": 40, "num_repeats": 5, "image_dir": "a", "is_reg": False}
    notes = {"ss_datasets": json.dumps([{"batch_size_per_device": 4, "subsets": [subset]}]), "ss_steps": "250"}
    one, two = ({"ss_num_batches_per_epoch": batches} for batches in ("50", "25"))
    assert (read_amount(notes | one).batch, read_amount(notes | two).batch) == (4, 8)
    assert (read_amount(notes | one).presentations, read_amount(notes | two).presentations) == (25, 50)


def test_alpha_of_a_rank_stabilised_lora_gives_its_scale():
    def alpha(**noted):
        return read_training({"lora_adapter_metadata": json.dumps(noted)}).alpha

    assert alpha(lora_alpha=8, r=16) == 8 and alpha(lora_alpha=8, r=16, use_rslora=True) / 16 == 8 / 4
    assert alpha(lora_alpha=8, use_rslora=True) is None  # without a rank nothing is known
    assert [alpha(lora_alpha=a) for a in (True, "8", None, -1, 0, 10**9, [8])] == [None] * 7


def test_a_rank_that_the_weights_do_not_have_was_replaced_and_the_scale_kept(suspect):
    """The shipped LoRA has rank 16."""
    resized = suspect({"ss_network_dim": "64", "ss_network_alpha": "32"})
    found = inspect_checkpoint(resized)
    assert found["adapter"]["replaced_rank"] == 64 and "resized" in "\n".join(report_lines(found))
    training = read_recipe(resized, {}).training
    assert (training.rank, training.alpha) == (16, 8)
    for rank in ("16", "None", "Dynamic", "∞"):
        untouched = suspect({"ss_network_dim": rank, "ss_network_alpha": "32"})
        assert inspect_checkpoint(untouched)["adapter"]["replaced_rank"] is None
        assert read_recipe(untouched, {}).training.alpha == 32
    notes = {"ss_network_dim": "64", "ss_network_args": '{"block_dims": "4,8,16"}'}  # ranks of their own
    assert inspect_checkpoint(suspect(notes))["adapter"]["replaced_rank"] is None
    notes["ss_network_args"] = '{"conv_dim": "8"}'
    assert inspect_checkpoint(suspect(notes))["adapter"]["replaced_rank"] == 64


def test_a_rate_that_no_plain_optimiser_has_is_not_trained_with(suspect):
    for notes in ({"ss_unet_lr": "1.0"}, {"ot_config": json.dumps({"learning_rate": 1.0})}):
        recipe = read_recipe(suspect(notes | {"ss_optimizer": "None"}), {})
        assert recipe.training.learning_rate == 1e-4 and "not noted" in recipe.sources["learning_rate"]
    assert read_recipe(suspect({"ss_unet_lr": "0.001"}), {}).training.learning_rate == 1e-3


def test_a_label_and_its_text_are_two_words(suspect):
    said = report_lines(inspect_checkpoint(suspect(SURTR)))
    assert "text encoder's learning rate 0.0006" in said and "gradient accumulation 1" in said


def test_clips_of_videos_are_no_pictures():
    pictures = {"num_repeats": 2, "image_directory": "a"}
    numbers = {"ss_num_train_items": "60", "ss_num_batches_per_epoch": "60", "ss_steps": "600"}
    assert read_amount(numbers | {"ss_datasets": json.dumps([pictures])}).pictures == 30
    clips = {"num_repeats": 2, "video_directory": "b", "target_frames": [1, 33]}
    for sets in ([clips], [pictures, clips]):
        assert read_amount(numbers | {"ss_datasets": json.dumps(sets)}).pictures is None


def test_a_file_without_the_end_of_its_training_was_trained_until_it_was_written():
    days = {
        "2024-09-11T15:17:43": date(2024, 9, 12),  # local time, perhaps 12 hours behind
        "2024-09-11T09:17:43": date(2024, 9, 11),
        "2024-09-11T23:30:00-05:00": date(2024, 9, 12),
        "2024-09-11T23:30:00Z": date(2024, 9, 11),
        "2024-09-11": date(2024, 9, 11),
        **dict.fromkeys(("2019-01-01", "11 September", "None", "", "9999-12-31T23:00:00", "0001-01-01T00:00:00+14:00")),
    }
    trained = {"ss_network_dim": "16"}
    assert {text: read_notes(trained | {"modelspec.date": text}).trained_until for text in days} == days
    assert read_notes({"modelspec.date": "2024-09-11"}).trained_until is None  # perhaps the base's
    assert read_notes(SURTR | {"modelspec.date": "2025-01-01"}).trained_until == date(2024, 3, 13)


def test_a_sentence_of_one_picture_is_no_prompt():
    captions = {"20_sks style": {"a cat on a mat": 1, "a dog": 1}}
    notes = {
        "ss_tag_frequency": json.dumps(captions),
        "ss_dataset_dirs": json.dumps({"20_sks style": {"n_repeats": 20, "img_count": 12}}),
    }
    assert read_notes(notes).prompt == "sks style"
    assert read_notes(notes | {"ss_tag_frequency": json.dumps({"20_sks style": {"sks": 12}})}).prompt == "sks"


def test_a_word_that_early_ai_toolkit_notes_for_every_trigger_is_no_prompt():
    noted = {"training_info": '{"step": 2000}', "ss_tag_frequency": '{"actfig": {"actfig": 1}}'}
    assert read_notes(noted).prompts == () and read_notes(noted).tags == ()
    assert read_notes(noted | {"ss_tag_frequency": '{"1_p3rson": {"p3rson": 1}}'}).prompts == ("p3rson",)
    assert read_notes({"ss_tag_frequency": '{"10_actfig": {"actfig": 20}}'}).prompt == "actfig"


def test_a_single_size_is_cut_to_whole_latent_cells():
    framing, guessed = likely_framing(published("kohya_2023_no_steps"), 512)
    assert framing == Kohya(resolution=(712, 888), buckets=False) and not guessed


def test_the_trainer_is_named():
    names = {
        "ai_toolkit_2024": "ai-toolkit 0.1.0",
        "ai_toolkit_lokr": "ai-toolkit",
        "civitai_pepper": "kohya's scripts, commit f9317052edb4",
    }
    assert {name: read_notes(published(name)).fields["trainer"] for name in names} == names
    assert read_notes({"ot_revision": "0123abc"}).fields == {"trainer": "OneTrainer, commit 0123abc"}
    for software in ('{"name": 3}', "[]", "null", '"ai-toolkit"', '{"name": ["x"], "version": {}}'):
        assert "trainer" not in read_notes({"software": software}).fields


def test_weights_that_were_changed_after_the_training_are_noticed(suspect, tmp_path):
    path = tmp_path / "noted.safetensors"
    suspect({"sshs_model_hash": "0" * 64})

    def said(digest):
        return inspect_checkpoint(suspect({"sshs_model_hash": digest}))["weights_as_hashed"]

    data = path.read_bytes()
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert said(digest) is True and said("0" * 64) is False
    nothing = hashlib.sha256(b"").hexdigest()  # ai-toolkit's fault
    assert said(nothing) is None and said("abc") is None and said("None") is None
    lines = "\n".join(report_lines(inspect_checkpoint(suspect({"sshs_model_hash": "0" * 64}))))
    assert "not those whose hash" in lines


BASE = SURTR | {"ss_datasets": "[]"}
FOLDER = {"n_repeats": 2, "img_count": 679}
SETS = [{"batch_size_per_device": 3, "subsets": [{"img_count": 679, "num_repeats": 2, "image_dir": "a"}]}]
CHANGED = {  # a note -> another value; None: without it
    "ss_dataset_dirs": json.dumps({"2_x": FOLDER}),
    "ss_epoch": "23",
    "ss_bucket_info": "null",
    "ss_resolution": "(640, 640)",
    "ss_enable_bucket": "False",
    "ss_bucket_no_upscale": "True",
    "ss_min_bucket_reso": "128",
    "ss_max_bucket_reso": "1024",
    "ss_flip_aug": "True",
    "ss_random_crop": "True",
    "ss_color_aug": "True",
    "ss_face_crop_aug_range": "2.0,4.0",
    "ss_training_started_at": None,
    "ss_training_finished_at": "1700000000.0",
    "ss_new_sd_model_hash": None,
    "ss_new_vae_hash": "ab" * 32,
    "ss_optimizer": "lion_pytorch.lion_pytorch.Lion",
    "ss_network_alpha": "3",
    "ss_network_dim": "5",
    "ss_network_args": '{"algo": "loha"}',
    "ss_network_module": "networks.lora",
    "ss_text_encoder_lr": "0.0001",
    "ss_unet_lr": "0.001",
    "ss_total_batch_size": "16",
    "ss_gradient_accumulation_steps": "2",
    "ss_lr_scheduler": "cosine",
    "ss_lr_warmup_steps": "10",
    "ss_tag_frequency": json.dumps({"1_1girl": {"x": 1358}}),
    "ss_keep_tokens": "2",
    "ss_shuffle_caption": "False",
    "ss_caption_dropout_rate": "0.1",
    "ss_noise_offset": "0.1",
    "ss_min_snr_gamma": "5",
    "ss_zero_terminal_snr": "True",
    "ss_multires_noise_iterations": "8",
    "ss_multires_noise_discount": "0.2",
    "ss_ip_noise_gamma": "0.1",
    "ss_debiased_estimation": "True",
    "ss_clip_skip": "1",
    "ss_num_reg_images": "7",
    "ot_config": json.dumps({"resolution": "768", "batch_size": 3}),
    "ot_revision": "0123abc",
    "sshs_model_hash": None,
    "software": '{"name": "ai-toolkit", "version": "0.7"}',
    "modelspec.title": "another",
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
    "modelspec.date": "2020-01-01",
    "modelspec.resolution": "64x64",
}


@pytest.mark.parametrize("key", CHANGED)
def test_every_note_of_use_is_used_or_printed(key, suspect):
    other = {k: v for k, v in (BASE | {key: CHANGED[key]}).items() if v is not None}
    said = [
        [line for line in report_lines(inspect_checkpoint(suspect(notes))) if not line.startswith(("sha256", "size"))]
        for notes in (BASE, other)
    ]
    assert said[0] != said[1]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training_info", '{"step": 2750, "epoch": 25}', ("2750", "25")),
        ("global_step", "1360", ("1360",)),
        ("modelspec.hash_sha256", "0x" + "cd" * 32, ("cd" * 32,)),
        ("ss_sd_model_hash", "e577480d", ("e577480d",)),
        ("ss_datasets", json.dumps(SETS), ("679 pictures",)),
        ("lora_adapter_metadata", json.dumps({"unet.lora_alpha": 7, "unet.r": 16}), ("alpha 7",)),
        ("extraction_method", "svd_diff", ("svd_diff",)),
        ("ot_config", published("one_trainer_prodigy")["ot_config"], ("landscape (repeats 1)", "planned", "100")),
        ("ot_config", json.dumps({"concepts": [{"path": "C:\\\\home\\\\her works"}]}), (" her works",)),
        ("ss_datasets", published("musubi_videos")["ss_datasets"], ("sample (repeats 5)",)),
    ],
)
def test_notes_of_other_trainers_are_printed(key, value, words, suspect):
    said = "\n".join(report_lines(inspect_checkpoint(suspect({key: value}))))
    assert all(word in said for word in words)
