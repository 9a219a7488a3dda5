"""What a file notes of its framing: by notes as the trainers write them, and as an opponent would."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgidm.framing.kohya import Kohya
from cgidm.framing.musubi import Musubi
from cgidm.framing.one_trainer import OneTrainer
from cgidm.intake.framing_notes import FramingNotes, read_framing


def bucket_info(counts):
    """As `make_buckets` of kohya's scripts leaves it."""
    buckets = {str(i): {"resolution": list(size), "count": n} for i, (size, n) in enumerate(sorted(counts.items()))}
    return {"buckets": buckets, "mean_img_ar_error": 0.0214}


def kohya(counts=None, **more):
    """Notes of `train_network.py` without a configuration file."""
    notes = {
        "ss_sd_scripts_commit_hash": "48d368f",
        "ss_num_train_images": 200,
        "ss_network_module": "networks.lora",
        "ss_resolution": "(512, 512)",
        "ss_color_aug": False,
        "ss_flip_aug": False,
        "ss_random_crop": False,
        "ss_face_crop_aug_range": None,
        "ss_enable_bucket": True,
        "ss_bucket_no_upscale": False,
        "ss_min_bucket_reso": 256,
        "ss_max_bucket_reso": 1024,
        "ss_bucket_info": json.dumps(counts and bucket_info(counts)),
        "ss_resize_interpolation": None,
    }
    return {key: str(value) for key, value in (notes | more).items()}


def one_set(counts=None, *, reg=False, random_crop=False, **more):
    """One entry of `ss_datasets`, as the same script writes it with a configuration file."""
    notes = {
        "is_dreambooth": True,
        "batch_size_per_device": 2,
        "num_train_images": 200,
        "resolution": [1024, 1024],
        "enable_bucket": True,
        "min_bucket_reso": 256,
        "max_bucket_reso": 2048,
        "bucket_info": counts and bucket_info(counts),
        "resize_interpolation": None,
        "subsets": [{"img_count": 20, "num_repeats": 10, "random_crop": random_crop, "is_reg": reg}],
    }
    return notes | more


def configured(*sets):
    return {"ss_sd_scripts_commit_hash": "48d368f", "ss_datasets": json.dumps(sets)}


def musubi(*sets):
    """Notes of musubi-tuner; `sets`: what differs from its usual entry."""
    usual = {
        "resolution": [960, 544],
        "caption_extension": ".txt",
        "batch_size_per_device": 1,
        "num_repeats": 1,
        "enable_bucket": True,
        "bucket_no_upscale": False,
        "image_directory": "set",
    }
    return {"ss_num_train_items": "20", "ss_datasets": json.dumps([usual | each for each in sets])}


def one_trainer(**config):
    return {"ot_revision": "23df383", "ot_branch": "master", "ot_config": json.dumps(config)}


def concept(**image):
    return {"name": "style", "enabled": True, "image": {"enable_crop_jitter": True, **image}}


SDXL = {"model_type": "STABLE_DIFFUSION_XL_10_BASE", "aspect_ratio_bucketing": True}
PORTRAITS = {(384, 640): 120, (448, 576): 60, (512, 512): 20}
WIDE = {(832, 1216): 100, (1024, 1024): 20}
FINE = {(736, 1408): 5, (1024, 1024): 20}  # in steps of 32 alone
SHRUNK = {(320, 384): 10, (512, 512): 7}
CASES = {  # notes -> framings, assumed settings
    "kohya": (kohya(PORTRAITS), [Kohya(resolution=(512, 512))], ["step"]),
    "kohya, a single number": (kohya(PORTRAITS, ss_resolution="512"), [Kohya(resolution=(512, 512))], ["step"]),
    "kohya, numbers as given": (kohya(ss_resolution="768,512"), [Kohya(resolution=(768, 512))], ["step"]),
    "kohya, no buckets": (
        kohya(ss_enable_bucket=False, ss_min_bucket_reso=None, ss_max_bucket_reso=None),
        [Kohya(resolution=(512, 512), buckets=False)],
        [],
    ),
    "kohya, faces cut out": (kohya(ss_enable_bucket=False, ss_face_crop_aug_range="(2.0, 4.0)"), None, []),
    "kohya, no enlargement": (
        kohya(SHRUNK, ss_bucket_no_upscale=True),
        [Kohya(resolution=(512, 512), no_upscale=True)],
        ["step"],
    ),
    "kohya, random crops and another filter": (
        kohya(PORTRAITS, ss_random_crop=True, ss_resize_interpolation="cubic"),
        [Kohya(resolution=(512, 512), random_crop=True, interpolation="bicubic")],
        ["step"],
    ),
    "kohya, steps of 32": (
        kohya(FINE, ss_resolution="(1024, 1024)", ss_max_bucket_reso=2048),
        [Kohya(resolution=(1024, 1024), most_side=2048, step=32)],
        ["step"],
    ),
    "kohya, a small model": (
        kohya({(96, 160): 8}, ss_resolution="(128, 128)", ss_min_bucket_reso=32, ss_max_bucket_reso=256),
        [Kohya(resolution=(128, 128), least_side=32, most_side=256, step=32)],
        ["step"],
    ),
    "kohya, of early 2023, without some notes": (
        {k: v for k, v in kohya(SHRUNK).items() if k not in ("ss_bucket_no_upscale", "ss_random_crop")},
        [Kohya(resolution=(512, 512), no_upscale=True)],
        ["no_upscale", "random_crop", "step"],
    ),
    "kohya, buckets that its rule does not make": (kohya({(333, 777): 3}), None, []),
    "kohya, a configuration file": (
        configured(one_set(WIDE), one_set(random_crop=True, reg=True)),
        [Kohya(resolution=(1024, 1024), most_side=2048)],
        ["no_upscale", "step"],
    ),
    "kohya, two resolutions": (
        configured(one_set(WIDE), one_set(PORTRAITS, resolution=[512, 512], max_bucket_reso=1024), one_set(WIDE)),
        [Kohya(resolution=(1024, 1024), most_side=2048), Kohya(resolution=(512, 512))],
        ["no_upscale", "step"],
    ),
    "kohya, a set that cannot be read": (configured(one_set(WIDE), one_set(resolution="big")), None, []),
    "kohya, minimum notes": ({"ss_network_dim": "32", "ss_network_module": "networks.lora"}, None, []),
    "musubi": (musubi({}), [Musubi(resolution=(960, 544))], ["step"]),
    "musubi, two sets": (
        musubi({}, {"resolution": [1024, 1024], "bucket_no_upscale": True}, {}),
        [Musubi(resolution=(960, 544)), Musubi(resolution=(1024, 1024), no_upscale=True)],
        ["step"],
    ),
    "musubi, no buckets": (
        musubi({"enable_bucket": False}),
        [Musubi(resolution=(960, 544), buckets=False)],
        ["step"],
    ),
    "OneTrainer": (
        one_trainer(**SDXL, resolution="1024", concepts=[concept()]),
        [OneTrainer(resolution=1024)],
        [],
    ),
    "OneTrainer, several resolutions": (
        one_trainer(**SDXL, resolution="768, 1024", concepts=[concept(enable_crop_jitter=False)]),
        [OneTrainer(resolution=768, random_crop=False), OneTrainer(resolution=1024, random_crop=False)],
        [],
    ),
    "OneTrainer, a concept of its own resolution": (
        one_trainer(
            model_type="STABLE_DIFFUSION_15",
            resolution="512",
            concepts=[
                concept(),
                concept(enable_resolution_override=True, resolution_override="832x1216"),
                {"enabled": False, "image": {"enable_resolution_override": True, "resolution_override": "64"}},
            ],
        ),
        [OneTrainer(resolution=512, step=8), OneTrainer(exact_size=(832, 1216), step=8)],
        ["buckets"],
    ),
    "OneTrainer, settings alone, of a model that is not known here": (
        one_trainer(model_type="NEW_1", aspect_ratio_bucketing=True, resolution="1024"),
        [OneTrainer(resolution=1024)],
        ["random_crop", "step"],
    ),
    "OneTrainer, no buckets": (
        one_trainer(model_type="SANA", aspect_ratio_bucketing=False, resolution="1024", concepts=[concept()]),
        [OneTrainer(resolution=1024, buckets=False, step=32)],
        [],
    ),
    "OneTrainer, without its configuration": ({"ot_revision": "23df383"}, None, []),
    "ai-toolkit": (
        {
            "software": '{"name": "ai-toolkit", "repo": "https://github.com/ostris/ai-toolkit", "version": "0.7.1"}',
            "training_info": '{"step": 3000, "epoch": 60}',
            "ss_base_model_version": "flux.1",
            "ss_output_name": "style",
            "ss_tag_frequency": '{"1_sks": {"sks": 1}}',
            "name": "style",
            "format": "pt",
        },
        None,
        [],
    ),
    "SimpleTuner": ({"global_step": "1000", "modelspec.architecture": "flux-1-dev"}, None, []),
    "diffusers": ({"format": "pt", "lora_adapter_metadata": '{"transformer.r": 4}'}, None, []),
    "nothing": ({}, None, []),
}
TRAINERS = {"OneTrainer": "one_trainer", "ai-toolkit": "ai_toolkit"}


@pytest.mark.parametrize("name", CASES)
def test_framings_are_read_or_not_known(name):
    notes, framings, assumed = CASES[name]
    found = read_framing(notes)
    assert (found.framings and list(found.framings), list(found.assumed)) == (framings, assumed)
    trainer = name.partition(",")[0]
    if "minimum" not in name:
        assert found.trainer == TRAINERS.get(trainer, trainer if trainer in ("kohya", "musubi") else None)


def test_buckets_are_counted():
    assert read_framing(kohya(PORTRAITS)).bucket_counts == PORTRAITS
    both = configured(one_set(WIDE), one_set(PORTRAITS, resolution=[512, 512]), one_set(WIDE))
    assert read_framing(both).bucket_counts == PORTRAITS | {(832, 1216): 200, (1024, 1024): 40}
    prior = one_set({(64, 64): 9}, reg=True)
    assert read_framing(configured(one_set(WIDE), prior)).bucket_counts == WIDE
    # what a set does not note, or notes wrongly, makes all counts unknown
    assert read_framing(configured(one_set(WIDE), one_set())).bucket_counts is None
    assert read_framing(kohya()).bucket_counts is None
    assert read_framing(musubi({})).bucket_counts is None
    # they are known where the framing is not
    strange = read_framing(kohya({(333, 777): 3}))
    assert strange.framings is None and strange.bucket_counts == {(333, 777): 3}


def test_an_empty_bucket_is_an_alibi():
    notes = read_framing(kohya(PORTRAITS))
    assert notes.excludes(600, 900) is False and notes.excludes(900, 300) is True
    assert notes.excludes(900, 600) is False  # a photo that its file turns
    assert read_framing(kohya()).excludes(900, 600) is None and FramingNotes().excludes(900, 600) is None
    shrunk = read_framing(kohya(SHRUNK, ss_bucket_no_upscale=True))
    assert shrunk.excludes(330, 400) is shrunk.excludes(5000, 20) is None  # its bucket goes by size as well


HOSTILE = {
    "a huge side": kohya(ss_resolution="(99999999, 99999999)"),
    "a long number": kohya(ss_resolution="9" * 100_000),
    "a negative resolution": kohya(ss_resolution="(-5, 0)"),
    "huge bounds": kohya(ss_min_bucket_reso="1", ss_max_bucket_reso="9999999999"),
    "bounds that are no numbers": kohya(ss_min_bucket_reso="nan", ss_max_bucket_reso="1e400"),
    "bounds the wrong way round": kohya(ss_min_bucket_reso="1024", ss_max_bucket_reso="256"),
    "a truth that is none": kohya(ss_enable_bucket="maybe"),
    "a negative count": kohya({(512, 512): -1}, ss_enable_bucket="x"),
    "sets that are numbers": configured(1, 2, 3),
    "very many sets": configured(*[one_set(resolution=[n, n], enable_bucket=False) for n in range(100, 800)]),
    "many sets with many buckets": configured(
        *[one_set(resolution=[n, n], min_bucket_reso=8, max_bucket_reso=16384, bucket_info=None) for n in range(8, 72)]
    ),
    "a resolution of truths": configured(one_set(resolution=[True, True])),
    "sides as texts": configured(one_set(resolution=["512", "512"])),
    "a filter that is a list": configured(one_set(resize_interpolation=["area"], enable_bucket=[])),
    "deep nesting": {"ss_datasets": "[" * 200_000, "ss_enable_bucket": "True", "ss_resolution": "512"},
    "musubi, no set": {"ss_num_train_items": "3"},
    "musubi, a small resolution": musubi({"resolution": [8, 8]}),
    "musubi, a step of its own": musubi({"resolution": [10**9, 10**9]}),
    "OneTrainer, deep": {"ot_config": '{"a":' * 100_000},
    "OneTrainer, a huge resolution": one_trainer(**SDXL, resolution="999999999"),
    "OneTrainer, a million resolutions": one_trainer(**SDXL, resolution="512," * 10**6 + "512"),
    "OneTrainer, resolution 0": one_trainer(**SDXL, resolution="0"),
    "OneTrainer, a resolution of lists": one_trainer(**SDXL, resolution=[512], concepts=[{"image": 3}]),
    "OneTrainer, buckets of text": one_trainer(resolution="512", aspect_ratio_bucketing="yes"),
    "OneTrainer, an exact size without buckets": one_trainer(resolution="64x64", aspect_ratio_bucketing=False),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_notes_say_nothing_and_take_no_time(name):
    started = time.monotonic()
    found = read_framing(HOSTILE[name])
    assert time.monotonic() - started < 20
    assert found.framings is None or name == "many sets with many buckets"
    assert found.bucket_counts is None
    assert found.excludes(600, 900) is None


@pytest.mark.parametrize("count", [-1, 10**11, 1.5, "3", True, None])
def test_a_wrong_count_makes_the_counts_unknown(count):
    notes = kohya(ss_bucket_info=json.dumps({"buckets": {"0": {"resolution": [512, 512], "count": count}}}))
    assert read_framing(notes).bucket_counts is None
    assert read_framing(notes).framings == (Kohya(resolution=(512, 512)),)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.sampled_from(sorted(one_set())), parts, max_size=4),
    max_leaves=12,
)
texts = st.text(max_size=20) | anything.map(json.dumps) | st.sampled_from(sorted(set(kohya(PORTRAITS).values())))
keys = sorted({*kohya(), "ss_datasets", "ss_num_train_items", "ot_config", "software", "training_info"})


@settings(settings.get_profile("fast"))
@given(st.dictionaries(st.sampled_from(keys), texts, max_size=8), st.integers(1, 5000), st.integers(1, 5000))
def test_no_notes_raise(notes, width, height):
    found = read_framing(kohya(PORTRAITS) | notes)
    assert found.excludes(width, height) in (True, False, None)
    read_framing(notes)
