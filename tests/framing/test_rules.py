"""Every rule frames pictures exactly as its trainer does, by a transcription of the trainer's arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgidm.errors import UserError
from cgidm.framing.ai_toolkit import AiToolkit
from cgidm.framing.diffusers_scripts import DiffusersScript
from cgidm.framing.frame import CentreSquare
from cgidm.framing.kohya import Kohya
from cgidm.framing.musubi import Musubi
from cgidm.framing.one_trainer import OneTrainer
from cgidm.framing.simple_tuner import SimpleTuner
from tests.support import trainer_frames as trainer
from tests.support.picture_sizes import picture_sizes

SIZES = picture_sizes()


def kohya(resolution, least=256, most=1024, step=64):
    buckets = trainer.kohya_buckets(resolution, least, most, step)
    rule = Kohya(resolution=resolution, least_side=least, most_side=most, step=step)
    return rule, lambda w, h: trainer.kohya(w, h, buckets)


def kohya_shrunk(resolution, least=256, most=2048, step=64):
    rule = Kohya(resolution=resolution, least_side=least, most_side=most, step=step, no_upscale=True)
    return rule, lambda w, h: trainer.kohya_shrunk(w, h, resolution, step)


def musubi(resolution, step=16, no_upscale=False):
    buckets, area = trainer.musubi_buckets(resolution, step), resolution[0] * resolution[1]
    rule = Musubi(resolution=resolution, step=step, no_upscale=no_upscale)
    return rule, lambda w, h: trainer.musubi(w, h, buckets, area, step, no_upscale)


def one_trainer(resolution, step):
    buckets = trainer.one_trainer_buckets(resolution, step)
    return OneTrainer(resolution=resolution, step=step), lambda w, h: trainer.one_trainer(w, h, buckets)


def ai_toolkit(resolution, step=64):
    return AiToolkit(resolution=resolution, step=step), lambda w, h: trainer.ai_toolkit(w, h, resolution, step)


def simple_tuner(resolution, unit, step=64, square=False):
    rule = SimpleTuner(resolution=resolution, unit=unit, step=step, square=square)
    return rule, lambda w, h: trainer.simple_tuner(w, h, resolution, unit, step, square)


RULES = {
    "kohya, 512": kohya((512, 512)),
    "kohya, 768 x 512": kohya((768, 512), 320, 1024),
    "kohya, SDXL": kohya((1024, 1024), 256, 2048),
    "kohya, SDXL, steps of 32": kohya((1024, 1024), 512, 2048, 32),
    "kohya, sides that are no steps": kohya((1000, 1000), 300, 1500, 64),
    "kohya, a small model": kohya((128, 128), 64, 256, 16),
    "kohya, a small model, steps of 8": kohya((128, 128), 32, 512, 8),
    "kohya, no buckets": (
        Kohya(resolution=(512, 768), buckets=False),
        lambda w, h: trainer.kohya(w, h, [(512, 768)]),
    ),
    "kohya, no enlargement": kohya_shrunk((1024, 1024)),
    "kohya, no enlargement, steps of 32": kohya_shrunk((512, 768), step=32),
    "kohya, no enlargement, a small model": kohya_shrunk((128, 128), 32, 512, 8),
    "musubi, 1024": musubi((1024, 1024)),
    "musubi, 960 x 544": musubi((960, 544)),
    "musubi, a small model": musubi((128, 128), 8),
    "musubi, no enlargement": musubi((1024, 1024), no_upscale=True),
    "musubi, no buckets": (
        Musubi(resolution=(960, 544), buckets=False),
        lambda w, h: trainer.musubi(w, h, [(960, 544)], 960 * 544, 16),
    ),
    "OneTrainer, SD 1.5": one_trainer(512, 8),
    "OneTrainer, SDXL": one_trainer(1024, 64),
    "OneTrainer, coarse": one_trainer(130, 64),
    "OneTrainer, a small model": one_trainer(128, 16),
    "OneTrainer, no buckets": (
        OneTrainer(resolution=500, buckets=False),
        lambda w, h: trainer.one_trainer(w, h, [(500, 500)]),
    ),
    "OneTrainer, an exact size": (
        OneTrainer(exact_size=(832, 1216), step=64),
        lambda w, h: trainer.one_trainer(w, h, [(1216, 832)]),
    ),
    "ai-toolkit, 512": ai_toolkit(512),
    "ai-toolkit, 768": ai_toolkit(768, 32),
    "ai-toolkit, 1024": ai_toolkit(1024),
    "ai-toolkit, a small model": ai_toolkit(128, 16),
    "ai-toolkit, squares": (
        AiToolkit(resolution=512, square=True),
        lambda w, h: trainer.ai_toolkit_square(w, h, 512),
    ),
    "SimpleTuner, 1 megapixel": simple_tuner(1.0, "area"),
    "SimpleTuner, a quarter": simple_tuner(0.25, "area", 8),
    "SimpleTuner, root of an area": simple_tuner(1024, "pixel_area"),
    "SimpleTuner, root of an odd area": simple_tuner(900, "pixel_area", 16),
    "SimpleTuner, short side": simple_tuner(768, "pixel"),
    "SimpleTuner, short side, a small model": simple_tuner(128, "pixel", 8),
    "SimpleTuner, a small model": simple_tuner(128, "pixel_area", 8),
    "SimpleTuner, squares": simple_tuner(1.0, "area", 64, True),
    "SimpleTuner, squares of a short side": simple_tuner(512, "pixel", 64, True),
    "diffusers, 512": (DiffusersScript(), lambda w, h: trainer.diffusers(w, h, 512)),
    "diffusers, 1024": (DiffusersScript(resolution=1024), lambda w, h: trainer.diffusers(w, h, 1024)),
}


def framed(rule, width, height):
    """(scaled, corner, size), or None where the rule refuses the picture as too small."""
    try:
        frame = rule.frame(width, height)
    except UserError as error:
        assert error.code == "framing.picture_too_small"
        return None
    assert frame.original == (width, height) and frame.cut == (0, 0, width, height)
    return frame.scaled, frame.corner, frame.size


def test_there_are_enough_sizes():
    aspects = [w / h for w, h in SIZES]
    assert len(SIZES) >= 400 and min(aspects) < 0.3 and max(aspects) > 3.3


@pytest.mark.parametrize("name", RULES)
def test_the_rule_is_the_trainers(name):
    rule, expected = RULES[name]
    assert {size: framed(rule, *size) for size in SIZES} == {size: expected(*size) for size in SIZES}


@pytest.mark.parametrize("name", RULES)
def test_the_frame_lies_in_what_was_scaled_and_is_not_larger_than_promised(name):
    rule, _ = RULES[name]
    most_pixels = rule.most_pixels
    for size in SIZES[::3]:
        if framed(rule, *size) is None:
            continue
        frame = rule.frame(*size)
        ends = [c + s for c, s in zip(frame.corner, frame.size, strict=True)]
        assert min(frame.corner) >= 0 and min(frame.size) > 0
        assert all(end <= most for end, most in zip(ends, frame.scaled, strict=True))
        assert -1e-9 <= frame.lost < 1
        if 0.1 <= size[0] / size[1] <= 10:
            assert frame.size[0] * frame.size[1] <= most_pixels


@given(width=st.integers(1, 12_000), height=st.integers(1, 12_000), name=st.sampled_from(sorted(RULES)))
def test_any_size_is_framed_as_by_the_trainer(width, height, name):
    rule, expected = RULES[name]
    assert framed(rule, width, height) == expected(width, height)


def test_the_buckets_are_the_trainers():
    assert list(Kohya(resolution=(512, 512)).sizes or ()) == trainer.kohya_buckets((512, 512), 256, 1024, 64)
    assert list(Musubi(resolution=(960, 544)).sizes) == trainer.musubi_buckets((960, 544), 16)
    turned = [(w, h) for h, w in trainer.one_trainer_buckets(1024, 64)]
    assert list(OneTrainer(resolution=1024).sizes) == turned
    assert Kohya(resolution=(512, 512), no_upscale=True).sizes is None


def test_known_outcomes():
    """Worked by hand, or stated by the trainers."""
    # SDXL's list of portrait buckets in kohya's log lines: 832 x 1216 for 2:3
    portrait = Kohya(resolution=(1024, 1024), most_side=2048).frame(2000, 3000)
    assert (portrait.size, portrait.scaled, portrait.corner) == ((832, 1216), (832, 1248), (0, 16))
    # a bucket's own size is left alone, though another bucket has this aspect too
    same = Kohya(resolution=(512, 512)).frame(384, 640)
    assert (same.size, same.scaled, same.lost) == ((384, 640), (384, 640), 0)
    # a small picture keeps its size without enlargement, and loses what is over a step
    small = Kohya(resolution=(512, 512), no_upscale=True).frame(330, 400)
    assert (small.scaled, small.size, small.corner) == ((330, 400), (320, 384), (5, 8))
    # 512 x 512 pictures are scaled up by a trainer of 1024, but not by ai-toolkit
    assert OneTrainer(resolution=1024).frame(512, 512).size == (1024, 1024)
    assert AiToolkit(resolution=1024).frame(512, 512).size == (512, 512)
    # torchvision rounds half a pixel to the even number: 513 - 512 loses it below, 515 - 512 above
    assert DiffusersScript().frame(512, 513).corner == (0, 0)
    assert DiffusersScript().frame(512, 515).corner == (0, 2)
    # SimpleTuner cuts nearly square pictures out of the original, unscaled
    near = SimpleTuner(unit="area", resolution=1.0).frame(3000, 3001)
    assert (near.scaled, near.size, near.corner) == ((3000, 3001), (1024, 1024), (988, 988))


def test_buckets_in_logs_of_users_are_buckets_of_the_rule():
    """https://github.com/kohya-ss/sd-scripts/issues/1385 and https://github.com/bmaltais/kohya_ss/issues/1466."""
    logged = {*((side, 2048) for side in range(64, 449, 64)), (512, 1856)}
    assert logged <= set(Kohya(resolution=(1024, 1024), least_side=64, most_side=2048).sizes or ())
    shrunk = Kohya(resolution=(512, 512), no_upscale=True)
    for size in [(384, 448), (384, 512), (512, 384), (512, 512), (576, 384), (640, 384)]:
        assert shrunk.frame(*size).size == size  # of pictures that had this size, or up to a step more
        assert shrunk.frame(size[0] * 10, size[1] * 10).size[0] % 64 == 0


def test_the_filter_is_the_trainers():
    rule = Kohya(resolution=(512, 512))
    assert [rule.frame(w, w).resample for w in (1024, 512, 300)] == ["area", "area", "lanczos"]
    assert Kohya(resolution=(512, 512), interpolation="bicubic").frame(1024, 1024).resample == "bicubic"
    assert [Musubi(resolution=(512, 512)).frame(w, w).resample for w in (600, 300)] == ["area", "lanczos"]
    others = (OneTrainer(), AiToolkit(), SimpleTuner(), DiffusersScript(), CentreSquare(resolution=8))
    assert [rule.frame(600, 400).resample for rule in others] == [
        *("bilinear", "bicubic", "lanczos", "bilinear", "lanczos"),
    ]


def test_a_random_part_without_buckets_is_not_scaled():
    rule = Kohya(resolution=(512, 512), buckets=False, random_crop=True)
    assert framed(rule, 1000, 701) == ((1000, 701), (244, 94), (512, 512))
    assert framed(rule, 300, 600) == trainer.kohya(300, 600, [(512, 512)])


def test_a_corner_is_kept():
    rule = SimpleTuner(crop_style="corner")
    assert rule.frame(2000, 3000).corner == (0, 0) and not rule.random_crop and SimpleTuner().random_crop


@pytest.mark.parametrize(
    "make",
    [
        lambda: Kohya(resolution=(0, 512)),
        lambda: Kohya(resolution=(512, 10**9)),
        lambda: Kohya(resolution=(512, 512), step=0),
        lambda: Kohya(resolution=(128, 128)),
        lambda: Kohya(resolution=(512, 512), most_side=500),
        lambda: Kohya(resolution=(512, 512), least_side=32),
        lambda: Musubi(resolution=(16, 16)),
        lambda: Musubi(resolution=(512, 512), step=-1),
        lambda: OneTrainer(resolution=64),
        lambda: OneTrainer(exact_size=(32, 64)),
        lambda: AiToolkit(resolution=32),
        lambda: SimpleTuner(resolution=0),
        lambda: SimpleTuner(resolution=1024, unit="area"),
        lambda: SimpleTuner(decimals=40),
        lambda: DiffusersScript(resolution=-3),
    ],
)
def test_settings_that_no_trainer_takes_are_refused(make):
    with pytest.raises(UserError) as caught:
        make()
    assert caught.value.code in ("framing.bad_number", "framing.bucket_sides")
