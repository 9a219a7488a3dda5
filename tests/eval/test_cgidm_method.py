"""CGI-DM as a method of the benchmark: the library's own numbers, a curve, and the public code's ways by name."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from cgidm.conductor import authenticate
from cgidm.families import load_pair
from cgidm.method.models import ModelPair
from cgidm.pictures.embedders import Embedders, load_embedders
from cgidm.pictures.images import read_picture
from eval.benchmark.methods import CGIDM, Case
from eval.benchmark.methods.recovery import curve_steps, group_max
from tests.support.errors import refuses
from tests.support.paths import ASSETS, EXAMPLES, SUSPECTS, pictures_of
from tests.support.worlds import world

EXAMPLE = str(EXAMPLES / SUSPECTS[0])


def case(pair, images, z, sha256=None, embedders=None):
    sha256 = sha256 or tuple(f"picture {i}" for i in range(len(z)))
    groups = (torch.arange(len(z)) >= len(z) // 2).long()
    return Case(pair, lambda: pair, images, z, sha256, groups, embedders or {})


def closed_form(seed, n=4):
    """Members, then holdouts, of a pixel model whose answer is known."""
    pair, members, holdouts = world(seed, channels=3)
    z = torch.cat([members[:n], holdouts[:n]])
    return case(pair, pair.codec.decode(z), z)


def measures(answers):
    return {(a.measure, a.evaluations): a.scores for a in answers}


def test_members_come_back_and_an_innocent_suspect_adds_nothing():
    method, wins = CGIDM(preset="fast", steps=20, draws=1), []
    for seed in range(3):
        given = closed_form(seed)
        scores = {a.measure: a.scores for a in method(given)}["removed_alignment"]
        wins.append((scores[:4, None] > scores[4:]).double().mean())
        innocent = case(ModelPair(given.pair.base, given.pair.base, given.pair.schedule), given.images, given.z)
        nothing = {a.measure: a.scores for a in method(innocent)}
        assert (nothing["removed_alignment"] == 0).all() and (nothing["removed_gain"] == 0).all()
    assert sum(wins) / 3 > 0.9


@pytest.mark.slow
def test_its_numbers_are_those_of_the_library():
    """The same recovery and scores as `authenticate` reports for the same pictures, and the same embedder."""
    pair = load_pair(str(ASSETS / "mini"), f"{EXAMPLE}/checkpoint", "sks style")
    pictures = [read_picture(p, pair.resolution) for p in list_pictures()]
    embedders = load_embedders().ready
    method = CGIDM(preset="fast", steps=2, draws=1)
    images = torch.stack([p.image for p in pictures])
    given = case(pair, images, pair.codec.encode(images), tuple(p.sha256 for p in pictures), embedders)
    found = {a.measure: a.scores for a in method(given)}
    config = replace(method.config, mirrored_recovery=False)
    result = authenticate(pair, pictures, config=config, embedders=Embedders(embedders))
    for name in ("removed_cosine", "removed_gain", "removed_alignment", "efficientnet_lite0"):
        expected = torch.tensor([p.scores[name] for p in result.pictures])
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-5)


def list_pictures():
    return [pictures_of(SUSPECTS[0], part)[0] for part in ("member", "holdout")]


def test_a_curve_passes_through_the_numbers_of_shorter_runs():
    given = closed_form(0)
    curve = measures(CGIDM(preset="fast", steps=12, draws=2, curve=True)(given))
    assert {e for _, e in curve} == {4, 8, 20, 40, 48}
    short = measures(CGIDM(preset="fast", steps=5, draws=2)(given))
    assert short.keys() <= curve.keys()
    assert all(torch.equal(scores, curve[at]) for at, scores in short.items())
    assert list(curve_steps(40)) == [1, 2, 5, 10, 20, 40]
    assert list(curve_steps(1000)) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


@pytest.mark.parametrize("preset", ["paper", "reference", "fast"])
def test_several_numbers_of_steps_are_several_runs_in_one(preset):
    """Every measure, also what an embedder sees, is that of a run of so many steps, to the last bit."""
    given = closed_form(0)
    given = replace(given, embedders={"pixels": lambda images: F.normalize(images.flatten(1) - 0.5)})
    several = CGIDM(preset=preset, steps=(3, 12, 7))
    found, apart = measures(several(given)), {}
    for n in (3, 7, 12):
        apart |= measures(CGIDM(preset=preset, steps=n)(given))
    assert found.keys() == apart.keys() and len({at for _, at in apart}) == 3
    assert all(torch.equal(scores, apart[cell]) for cell, scores in found.items())
    assert not torch.equal(found["pixels", several.evaluations], found["pixels", several.evaluations // 4])
    one = CGIDM(preset=preset, steps=12)
    assert several.evaluations == one.evaluations, "it costs what the longest costs"
    assert one.name_runs("x") == {}
    assert list(several.name_runs("x").values()) == ["x, 3 steps", "x, 7 steps", "x, 12 steps"]
    assert list(several.name_runs("x")) == sorted({at for _, at in apart})


@pytest.mark.parametrize("steps", [(), (5, 0)])
def test_several_numbers_of_steps_are_some_and_none_is_zero(steps):
    with refuses("method.not_positive", setting="steps", given=0):
        CGIDM(steps=steps)


def test_the_deviations_of_the_public_code_have_names():
    paper, reference = CGIDM(preset="paper").config, CGIDM(preset="reference").config
    assert (paper.recovery.noise, reference.recovery.noise) == ("shared", "independent")
    assert (paper.encoding, reference.encoding) == ("mode", "sample")
    one = CGIDM(preset="paper", noise="independent", steps=3).config
    assert (one.recovery.noise, one.encoding, one.recovery.steps) == ("independent", "mode", 3)
    given = closed_form(0)
    assert not torch.equal(*(m(given)[0].scores for m in (CGIDM(steps=3), CGIDM(steps=3, noise="independent"))))


def test_a_sampled_encoding_is_drawn_from_the_seed_and_leaves_no_trace():
    pair = load_pair(str(ASSETS / "mini"), f"{EXAMPLE}/checkpoint", "sks style")
    images = torch.stack([read_picture(p, pair.resolution).image for p in list_pictures()])
    given = case(pair, images, pair.codec.encode(images))
    plain, sampled = CGIDM(preset="fast", steps=1, draws=1), CGIDM(preset="fast", steps=1, draws=1, encoding="sample")
    before, state = plain(given)[0].scores, torch.random.get_rng_state()
    first, second = sampled(given)[0].scores, sampled(given)[0].scores
    assert torch.equal(first, second) and not torch.equal(first, before)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's generator is as it was"
    assert torch.equal(plain(given)[0].scores, before), "the codec is as it was"


def test_group_max_lets_a_neighbour_stand_for_a_picture():
    pairwise = torch.tensor([[0.1, 0.9, 0.0, 0.0], [0.8, 0.2, 0.0, 0.0], [1.0, 1.0, 0.3, 0.4], [1.0, 1.0, 0.5, 0.6]])
    alike = group_max(pairwise, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(alike, torch.tensor([0.8, 0.9, 0.5, 0.6]))
    torch.testing.assert_close(group_max(pairwise, torch.zeros(4).long()), torch.tensor([1.0, 1.0, 0.5, 0.6]))
