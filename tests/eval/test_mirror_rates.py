"""The mirror test's errors are counted right: on scores whose truth is known."""

import numpy as np
import pytest

from cgidm.judging.mirror_test import NullGroup
from eval.error_rates.mirror_rates import (
    artist_of,
    decide,
    decide_sets,
    null_groups,
    share_by_artist,
    summarise,
    without_artist,
)
from eval.error_rates.mirror_scores import MirrorScores


def suspect(rng, artist, half, gap, reference=0):
    files = tuple(f"art/{artist}/{i}.jpg" for i in range(20))
    member = tuple(int(i % 2 == half) for i in range(20))
    scores = tuple(float(rng.normal() + gap * m) for m in member)
    return MirrorScores(
        dataset="art",
        concept=artist,
        half=half,
        training="lora",
        files=files,
        member=member,
        scores=scores,
        reference=tuple(rng.normal(size=reference).tolist()),
    )


def everything(gap, artists=20, reference=0):
    rng = np.random.default_rng(0)
    return [suspect(rng, f"artist {m}", half, gap, reference) for m in range(artists) for half in (0, 1)]


def counted(scored):
    groups = null_groups(scored)
    return summarise(decide(scored, groups), list(decide_sets(scored, groups)))


def test_a_picture_is_judged_against_works_that_other_artists_left_out():
    scored = everything(5.0, artists=3)
    groups = null_groups(scored)
    assert len(groups) == 6 and all(len(g.scores) == 10 for g in groups)
    nulls = without_artist(groups, "art/artist 0").scores
    assert len(nulls) == 40 and not set(nulls) & set(scored[0].scores)


def test_a_mixture_has_a_group_for_each_artist():
    mixed = MirrorScores(
        dataset="mix",
        concept="two",
        half=0,
        training="lora",
        files=("a/1.jpg", "a/2.jpg", "b/1.jpg"),
        member=(0, 1, 0),
        scores=(0.1, 3.0, 0.2),
    )
    assert null_groups([mixed]) == [
        NullGroup(artist="a", training="lora", scores=(0.1,)),
        NullGroup(artist="b", training="lora", scores=(0.2,)),
    ]


def test_where_nothing_can_be_found_used_and_unused_are_called_alike():
    found = counted(everything(0.0, reference=160))
    assert found["artists"] == 20 and found["AUC"] == pytest.approx(0.5, abs=0.05)
    for name in ("pictures", "pictures, against reference pictures"):
        (rate, _) = found[name]
        assert rate["false calls"]["of"] == 400 and rate["false calls"]["share"] <= 0.06
        assert rate["power"]["share"] == pytest.approx(rate["false calls"]["share"], abs=0.03)
    assert found["sets of ten"][0]["false calls"]["share"] <= 0.08


def test_where_everything_can_be_found_it_is():
    found = counted(everything(9.0, reference=160))
    assert found["AUC"] == 1.0
    for name in ("pictures", "sets of ten", "pictures, against reference pictures"):
        assert [rate["power"]["share"] for rate in found[name]] == [1.0, 1.0]


def test_suspects_that_were_not_scored_on_reference_pictures_take_no_part_there():
    assert counted(everything(9.0))["pictures, against reference pictures"] == []


def test_an_interval_is_wider_where_artists_differ():
    """All false calls by one artist: the pictures' own number would promise too much."""
    one = [("a", True)] * 20 + [(f"m{i}", False) for i in range(19) for _ in range(20)]
    spread = [(f"m{i}", k == 0) for i in range(20) for k in range(20)]
    widths = [np.diff(found["interval"])[0] for calls in (one, spread) if (found := share_by_artist(calls, max))]
    assert widths[0] > 5 * widths[1]
    worst = share_by_artist(one, max)
    assert worst is not None and worst["worst artist"] == [1.0, "a"] and worst["share"] == 0.05
    assert share_by_artist([], max) is None


def test_the_artist_is_the_folder():
    assert artist_of("wikiart/rembrandt/003.jpg") == "wikiart/rembrandt"
