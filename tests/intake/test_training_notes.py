"""How a suspect was trained, by notes as the trainers write them; hostile ones read as nothing."""

import json

import pytest

from cgidm.intake.training_notes import NotedTraining, read_training

CIVITAI = {  # as kohya's scripts write what Civitai's trainer sets
    "ss_optimizer": "prodigyopt.prodigy.Prodigy(decouple=True,weight_decay=0.5,betas=[0.9, 0.99])",
    "ss_lr_scheduler": "cosine_with_restarts",
    "ss_lr_warmup_steps": "0",
    "ss_max_train_steps": "1050",
    "ss_network_alpha": "16.0",
    "ss_noise_offset": "0.1",
    "ss_min_snr_gamma": "5.0",
    "ss_caption_dropout_rate": "0.0",
}
OT = {
    "optimizer": {"optimizer": "ADAMW_8BIT"},
    "learning_rate_scheduler": "CONSTANT",
    "lora_alpha": 1.0,
    "offset_noise_weight": 0.05,
    "loss_weight_fn": "MIN_SNR_GAMMA",
    "loss_weight_strength": 5.0,
    "timestep_distribution": "LOGIT_NORMAL",
    "learning_rate": 3e-4,
    "unet": {"learning_rate": None},
    "batch_size": 2,
    "gradient_accumulation_steps": 3,
    "text_encoder": {"dropout_probability": 0.1},
}
CASES = {
    "nothing": ({}, {}),
    "Civitai": (
        CIVITAI,
        {
            "optimizer": "prodigy",
            "schedule": "cosine_with_restarts",
            "warmup": 0.0,
            "alpha": 16.0,
            "caption_dropout": 0.0,
            "noise_offset": 0.1,
            "min_snr": 5.0,
        },
    ),
    "kohya, nothing set": (
        {"ss_noise_offset": "None", "ss_min_snr_gamma": "None", "ss_optimizer": "torch.optim.adamw.AdamW"},
        {"optimizer": "adamw"},
    ),
    "warm-up": ({"ss_lr_warmup_steps": "100", "ss_max_train_steps": "1000"}, {"warmup": 0.1}),
    "warm-up of unknown steps": ({"ss_lr_warmup_steps": "100"}, {}),
    "text encoder": ({"ss_text_encoder_lr": "5e-05"}, {"text_learning_rate": 5e-5}),
    "text encoders": ({"ss_text_encoder_lr": "[5e-05, 1e-05]"}, {"text_learning_rate": 5e-5}),
    "Lion": ({"ss_optimizer": "lion_pytorch.lion_pytorch.Lion"}, {"optimizer": "lion"}),
    "8 bits": ({"ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(betas=(0.9, 0.99))"}, {"optimizer": "adamw8bit"}),
    "Lion in 8 bits": ({"ss_optimizer": "bitsandbytes.optim.lion.Lion8bit"}, {"optimizer": "lion"}),
    "Adafactor": ({"ss_optimizer": "transformers.optimization.Adafactor(relative_step=True)"}, {}),
    "D-Adaptation": ({"ss_optimizer": "dadaptation.dadapt_adam.DAdaptAdam"}, {}),
    "schedule-free": ({"ss_optimizer": "schedulefree.adamw_schedulefree.AdamWScheduleFree"}, {}),
    "musubi": (
        {"ss_timestep_sampling": "sigmoid", "ss_lr_scheduler": "constant"},
        {"times": "sigmoid", "schedule": "constant"},
    ),
    "FLUX's law": ({"ss_timestep_sampling": "flux_shift"}, {"times": "shift"}),
    "a law that is not known": ({"ss_timestep_sampling": "weights"}, {}),
    "OneTrainer": (
        {"ot_config": json.dumps(OT)},
        {
            "optimizer": "adamw8bit",
            "learning_rate": 3e-4,
            "batch": 6,
            "schedule": "constant",
            "alpha": 1.0,
            "caption_dropout": 0.1,
            "noise_offset": 0.05,
            "min_snr": 5.0,
            "times": "sigmoid",
        },
    ),
    "OneTrainer, another weight": (
        {"ot_config": json.dumps(OT | {"loss_weight_fn": "CONSTANT", "text_encoder": None, "optimizer": "x"})},
        {
            "learning_rate": 3e-4,
            "batch": 6,
            "schedule": "constant",
            "alpha": 1.0,
            "noise_offset": 0.05,
            "times": "sigmoid",
        },
    ),
    "OneTrainer's sigmoid is a ramp": (
        {"ot_config": json.dumps({"timestep_distribution": "SIGMOID", "noising_weight": 0.0})},
        {"times": "uniform"},
    ),
    "a ramp that is not flat": (
        {"ot_config": json.dumps({"timestep_distribution": "SIGMOID", "noising_weight": 7.0})},
        {},
    ),
    "an early epoch": (
        {"ss_steps": "50", "ss_max_train_steps": "1000", "ss_lr_warmup_steps": "100", "ss_lr_scheduler": "cosine"},
        {},
    ),
    "schedule-free Prodigy": ({"ss_optimizer": "prodigyplus.ProdigyPlusScheduleFree"}, {}),
    "tags without a number of pictures": ({"ss_tag_frequency": json.dumps({"a": {"b": 3}})}, {}),
    "hostile": (
        {
            "ss_optimizer": "\x1b[31m" + "A" * 100_000,
            "ss_network_alpha": "1e999",
            "ss_noise_offset": "-1",
            "ss_min_snr_gamma": "0",
            "ss_caption_dropout_rate": "7",
            "ss_text_encoder_lr": "[[[",
            "ss_lr_warmup_steps": "9" * 12,
            "ss_max_train_steps": "1",
            "ss_tag_frequency": "[" * 100_000,
        },
        {},
    ),
    "hostile OneTrainer": (
        {
            "ot_config": json.dumps(
                {"lora_alpha": True, "optimizer": [1], "offset_noise_weight": "x", "text_encoder": 3}
            )
        },
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_settings_are_read_as_they_are_noted(name):
    notes, expected = CASES[name]
    assert read_training(notes).settings == expected


def test_tags_have_the_share_of_captions_that_hold_them():
    notes = {
        "ss_tag_frequency": json.dumps({"a": {"1girl": 10, "sky": 5, "": 3, "x\ny": 1}, "b": {"1girl": 20, "bad": -1}}),
        "ss_dataset_dirs": json.dumps({k: {"n_repeats": 1, "img_count": 20} for k in "ab"}),
    }
    tags = dict(read_training(notes).tags)
    assert (tags["1girl"], tags["sky"]) == (0.75, 0.125) and "bad" not in tags and "" not in tags
    assert all("\n" not in tag for tag in tags)


def test_tags_of_pictures_of_the_prior_are_no_captions():
    notes = {
        "ss_tag_frequency": json.dumps({"10_art": {"art": 20}, "1_woman": {"woman": 200}}),
        "ss_dataset_dirs": json.dumps({"10_art": {"n_repeats": 10, "img_count": 20}}),
        "ss_reg_dataset_dirs": json.dumps({"1_woman": {"n_repeats": 1, "img_count": 200}}),
    }
    assert read_training(notes).tags == (("art", 1.0),)


def test_an_optimiser_that_is_not_known_is_named():
    found = read_training({"ss_optimizer": "dadaptation.dadapt_adam.DAdaptAdam(decouple=True)"})
    assert found.optimizer is None and found.optimizer_text.startswith("dadaptation")
    assert read_training({}) == NotedTraining()
