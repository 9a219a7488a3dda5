"""A picture of one colour is not judged, and no control: nothing in it can be learnt."""

import dataclasses
import math

import pytest
import torch

from cgidm.conductor import authenticate
from cgidm.judging.flags import FLAT, flat_flags
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.pictures.images import Picture
from cgidm.run.plan import RunRequest, plan_run
from tests.support.errors import refuses
from tests.support.pictures import pair_that_learnt, picture
from tests.support.worlds import SIDE

CONFIG = RunConfig(recovery=RecoveryConfig(steps=2), mirror_draws=2)


def one_colour(*colour, noise=0.0):
    values = torch.tensor(colour)[:, None, None].expand(3, SIDE, SIDE).clone()
    values += noise * torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return values.clamp(0, 1)


def flat(name="white.png", colour=(1.0, 1.0, 1.0), noise=0.0):
    return Picture(name, "f" * 64, one_colour(*colour, noise=noise))


@pytest.mark.parametrize("colour", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.9, 0.2, 0.1)])
def test_one_colour_is_flat_with_and_without_a_little_noise(colour):
    assert flat_flags(one_colour(*colour)) == (FLAT,) == flat_flags(one_colour(*colour, noise=1 / 255))
    assert FLAT.blocks_verdict and FLAT.leaves_out and FLAT.concerns == "run"


def test_a_small_drawing_is_not_flat():
    image = torch.ones(3, 512, 512)
    image[:, 100:108, 200:208] = 0
    assert flat_flags(image) == () == flat_flags(picture(0).image)
    stripes = torch.zeros(3, 64, 64)
    stripes[:, ::2] = 5 / 255  # as dark as can be seen
    assert flat_flags(stripes) == ()


def test_a_flat_picture_is_not_judged_and_its_set_is_judged_without_it():
    pair = pair_that_learnt([picture(i).image for i in (0, 1)])
    controls = [picture(100 + i) for i in range(20)]
    result = authenticate(pair, [flat(), picture(0), picture(1)], controls, config=CONFIG)
    white, *others = result.pictures
    assert white.verdict.outcome == "cannot tell" and white.verdict.p_value is None
    assert "flat" in [f.name for f in white.flags]
    assert all("flat" not in [f.name for f in r.flags] for r in others)
    assert result.together is not None and result.together.pictures == 2
    numbers = [*white.scores.values(), *white.contrast]
    assert numbers and all(math.isfinite(v) for v in numbers)


def test_a_flat_control_is_refused():
    controls = [picture(100), flat("blank.png", noise=1 / 255)]
    request = RunRequest(pictures=[picture(0)], controls=controls, config=CONFIG)
    with refuses("run.flat_control", name="blank.png"):
        plan_run(request)
    plan_run(dataclasses.replace(request, controls=controls[:1]))
