"""Negative controls fire where they must, and nowhere else."""

from dataclasses import replace

import pytest
import torch

from cgidm import IdentityCodec
from cgidm.judging.generated import round_trip_ratio
from cgidm.judging.negative_controls import (
    generated_flags,
    measure_blind,
    measure_round_trips,
    score_base_vs_itself,
    shifted_control_flags,
    unrelated_suspect_flags,
    unstable_flags,
)
from cgidm.pictures.embedders import load_embedders
from cgidm.pictures.images import read_picture
from tests.support.paths import ASSETS
from tests.support.worlds import world


def images(folder, count, side=128):
    return torch.stack([read_picture(p, side).image for p in sorted((ASSETS / folder).glob("*.jpg"))[:count]])


@pytest.fixture(scope="module")
def codec():
    from cgidm.families import load_pair

    base = str(ASSETS / "mini")
    return load_pair(base, base, "").codec


def test_what_a_decoder_made_is_told_from_what_it_did_not(codec):
    real = images("controls/gerald-g-dreambooth", 6)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        z = codec.encode(real)
        made = codec.decode(z + 0.3 * torch.randn(z.shape, generator=generator))  # other pictures, of the decoder's own
    made = (made * 255).round() / 255
    assert round_trip_ratio(codec, made).min() > 2 * round_trip_ratio(codec, real).median()


def test_only_generated_pictures_are_flagged(codec):
    pair, *_ = world(0)
    pair = replace(pair, codec=codec)
    real = images("controls/gerald-g-dreambooth", 8)
    with torch.no_grad():
        made = codec.decode(codec.encode(codec.decode(codec.encode(real))))
    flags = [generated_flags(ratio) for ratio in measure_round_trips(pair, torch.cat([real, made]))]
    assert sum(bool(f) for f in flags[:8]) <= 1
    assert sum(bool(f) for f in flags[8:]) >= 7
    assert flags[-1][0].name == "generated" and flags[-1][0].blocks_verdict


def test_a_pixel_model_has_no_decoder_to_betray_it():
    assert round_trip_ratio(IdentityCodec(), torch.rand(2, 3, 8, 8)).tolist() == [0, 0]


def test_a_base_knows_no_more_than_itself():
    pair, members, _ = world(0)
    assert unstable_flags(score_base_vs_itself(pair, members, 0)) == ()

    class Restless:
        """A model that never answers the same."""

        def __init__(self, model):
            self.model, self.calls = model, 0

        def predict_eps(self, x_t, t):
            self.calls += 1
            return self.model.predict_eps(x_t, t) + 0.01 * self.calls

    restless = score_base_vs_itself(replace(pair, base=Restless(pair.base)), members, 0)
    assert unstable_flags(restless)[0].name == "unstable"


def test_a_picture_that_stands_out_under_a_stranger_is_flagged():
    controls = [i / 40 for i in range(40)]
    flags = unrelated_suspect_flags([2.0, 0.5], controls)
    assert [len(f) for f in flags] == [1, 0] and flags[0][0].name == "stands_out"
    assert unrelated_suspect_flags([-0.5], [c - 2 for c in controls]) == [()]
    assert unrelated_suspect_flags([2.0], []) == [()]


def test_controls_of_another_hand_are_noticed():
    embedder = load_embedders().ready["efficientnet_lite0"]
    one, other = (images(f"controls/{name}", 30, 224) for name in ("gerald-g-dreambooth", "rollandin-lora"))
    p = measure_blind(list(one), list(other), embedder)
    assert [f.name for f in shifted_control_flags(p)] == ["shifted_controls"]
    assert shifted_control_flags(measure_blind(list(one[::2]), list(one[1::2]), embedder)) == ()
    assert measure_blind(list(one[:9]), list(other), embedder) is None  # too few to find out
    assert measure_blind(list(one), list(other), None) is None and shifted_control_flags(None) == ()
