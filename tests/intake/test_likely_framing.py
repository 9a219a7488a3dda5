"""How a suspect's pictures were framed, by its notes or by what is likely."""

import json

import numpy as np
import pytest
from PIL import Image

from cgidm.framing.frame import CentreSquare
from cgidm.framing.kohya import Kohya
from cgidm.intake.framing_notes import read_framing
from cgidm.intake.likely_framing import likely_framing, noted_framing, usual_buckets
from cgidm.pictures.images import apply_frame

NOTES = {
    "ss_enable_bucket": "True",
    "ss_bucket_no_upscale": "False",
    "ss_min_bucket_reso": "256",
    "ss_max_bucket_reso": "1024",
    "ss_resolution": "(512, 512)",
}


def test_notes_win_and_are_no_guess():
    framing, guessed = likely_framing(NOTES, 512)
    assert framing == Kohya(resolution=(512, 512)) and not guessed
    off, guessed = likely_framing(NOTES | {"ss_enable_bucket": "False"}, 512)
    assert off.frame(600, 900).size == (512, 512) and not guessed


@pytest.mark.parametrize(
    "change",
    [
        {"ss_resolution": "(4096, 4096)", "ss_max_bucket_reso": "8192"},  # a run would take 64 times the memory
        {"ss_resolution": "hello"},
        {"ss_enable_bucket": "perhaps"},
    ],
    ids=str,
)
def test_notes_that_cannot_be_used_are_none(change):
    assert likely_framing(NOTES | change, 512) == (usual_buckets(512), True)


def test_without_notes_buckets_of_the_base_s_resolution_are_likely():
    assert likely_framing({}, 512) == (Kohya(resolution=(512, 512), interpolation="lanczos"), True)
    sides = {"least_side": 512, "most_side": 2048}
    assert usual_buckets(1024) == Kohya(resolution=(1024, 1024), interpolation="lanczos", **sides)
    assert usual_buckets(1024).frame(2000, 3000).size == (832, 1216)
    assert usual_buckets(128).frame(200, 300).size == (96, 160)
    assert usual_buckets(8) == CentreSquare(resolution=8)


def test_a_square_picture_is_framed_alike_by_either():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
    for resolution in (128, 512, 1024):
        seen = [
            apply_frame(noise, rule.frame(300, 300))
            for rule in (usual_buckets(resolution), CentreSquare(resolution=resolution))
        ]
        assert seen[0].size == (resolution, resolution) and seen[0].tobytes() == seen[1].tobytes()


def test_sides_fit_the_autoencoder():
    """The trainer's autoencoder leaves out what is over a whole cell; what buckets give is not cut."""
    odd = NOTES | {"ss_enable_bucket": "False", "ss_resolution": "(500, 503)"}
    assert noted_framing(odd) == Kohya(resolution=(496, 496), buckets=False)
    assert noted_framing(odd, multiple=16) == Kohya(resolution=(496, 496), buckets=False)
    unscaled = NOTES | {"ss_bucket_no_upscale": "True", "ss_bucket_info": held((520, 504))}
    assert noted_framing(unscaled) == Kohya(resolution=(512, 512), no_upscale=True, step=8)
    assert noted_framing(unscaled, multiple=64) is None


def held(*sizes):
    return json.dumps({"buckets": {str(i): {"resolution": [*size], "count": 3} for i, size in enumerate(sizes)}})


def test_a_bucket_excludes_only_what_no_reading_of_the_notes_allows():
    wide = read_framing(NOTES | {"ss_bucket_info": held((640, 384))})
    assert wide.excludes(500, 500) is True and wide.excludes(1000, 600) is False
    assert wide.excludes(600, 1000) is False, "kohya's scripts ignore the rotation that a photo states"
    assert read_framing(NOTES).excludes(500, 500) is None, "no buckets are noted"
    unscaled = read_framing(NOTES | {"ss_bucket_info": held((640, 384)), "ss_bucket_no_upscale": "True"})
    assert unscaled.excludes(500, 500) is None, "such a bucket depends on size, not on shape alone"


def test_a_step_that_is_not_noted_excludes_no_picture_that_another_step_would_hold():
    notes = NOTES | {"ss_resolution": "(1024, 1024)", "ss_max_bucket_reso": "2048"}
    coarse, fine = (Kohya(resolution=(1024, 1024), most_side=2048, step=step) for step in (64, 32))
    for width in range(3000, 4000, 7):
        size = fine.frame(width, 1313).size
        found = read_framing(notes | {"ss_bucket_info": held(size)})
        if size in (coarse.sizes or ()):
            assert found.excludes(width, 1313) is False
