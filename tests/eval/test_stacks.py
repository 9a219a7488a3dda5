"""Which LoRA of a stack knows the picture: how stacks are drawn and counted, and what the committed count says."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from cgidm.judging.mirror_test import NullGroup
from cgidm.training.split import PictureFile
from eval.error_rates import stacks
from eval.error_rates.stacks import PICTURES, SCALES, StackScores, count_stacks, name_loras, plan_stack
from tests.support.paths import RESULTS

KNOWN, UNKNOWN = 6.0, 0.0


@pytest.fixture(autouse=True)
def nulls(monkeypatch):
    """A table of 400 null scores by twenty artists, and one group of an artist of the stack with huge ones."""
    g = np.random.default_rng(0)
    groups = [NullGroup(artist=f"d/{i}", training="lora", scores=tuple(g.normal(size=20))) for i in range(20)]
    groups.append(NullGroup(artist="d/a", training="lora", scores=(50.0,) * 200))
    monkeypatch.setattr(stacks, "table_groups", lambda base: groups)


def stack(right=0, known=(KNOWN,) * PICTURES, wrong=UNKNOWN, first=None):
    """Scores of a stack by the artists a, b, c, whose right LoRA gives the used pictures `known`."""
    of_lora = [(*known, *[UNKNOWN] * PICTURES) if i == right else (wrong,) * 2 * PICTURES for i in range(3)]
    contrasts = tuple((float(i == (right if first is None else first)),) * 2 * PICTURES for i in range(3))
    files = tuple(f"d/a/{i}.jpg" for i in range(2 * PICTURES))
    artists = ("d/a", "d/b", "d/c")
    return StackScores(artists=artists, right=right, files=files, scores=tuple(of_lora), contrasts=contrasts)


def test_the_right_lora_is_named_at_its_scale_and_nothing_for_unused_pictures():
    report = count_stacks([stack(0), stack(1), stack(2), stack(0)], [])
    for found in report["corrections"].values():
        assert found["named"] == 4 and found["named by scale"] == {"1": "2 of 2", "0.8": "1 of 1", "0.6": "1 of 1"}
        assert found["named for a set"] == 4 and found["anything named for an unused set"] == 0
        assert found["right LoRA named"]["share"] == 1
        assert found["a wrong LoRA named"]["count"] == 0 and found["a wrong LoRA named"]["of"] == 4 * 2 * PICTURES
    assert (
        report["right LoRA has the highest score"]["share"]
        == report["right LoRA has the largest contrast"]["share"]
        == 1
    )
    assert report["called without a correction"] == 4


def test_a_wrong_lora_beside_the_right_one_is_counted_against_the_stack():
    report = count_stacks([stack(wrong=KNOWN)], [])
    found = report["corrections"]["alike"]
    assert found["named"] == 0 and found["right LoRA named"]["share"] == 1
    assert found["a wrong LoRA named"]["share"] == 1 and found["anything named for an unused set"] == 1
    assert report["called under other LoRAs, not corrected"]["share"] == 1


def test_the_highest_score_names_nobody_by_itself():
    report = count_stacks([stack(known=(0.5,) * PICTURES)], [])
    assert report["right LoRA has the highest score"]["share"] == 1
    assert [found["named"] for found in report["corrections"].values()] == [0, 0]


def test_the_lora_that_is_tested_first_needs_a_smaller_score():
    """A score with a p-value between a third and four fifths of the level."""
    known = (2.2,) * PICTURES
    named = {way: found["named"] for way, found in count_stacks([stack(known=known)], [])["corrections"].items()}
    assert named == {"ordered": 1, "alike": 0}
    other = count_stacks([stack(known=known, first=1)], [])
    assert other["corrections"]["ordered"]["named"] == 0 and other["called without a correction"] == 1
    assert other["right LoRA has the largest contrast"]["share"] == 0


def test_names_are_corrected_for_the_number_of_loras():
    assert name_loras([0.016, 0.9, 0.9]) == {0} and name_loras([0.017, 0.9, 0.9]) == set()
    assert name_loras([0.01, 0.02, 0.9]) == {0, 1}
    assert (
        name_loras([0.04, 0.9, 0.9], [3.0, 1.0, 2.0]) == {0} and name_loras([0.04, 0.9, 0.9], [1.0, 3.0, 2.0]) == set()
    )


def test_stacks_are_of_three_artists_and_the_right_one_goes_round():
    suspects = [SimpleNamespace(dataset="d", concept=c) for c in "abcdefg"]
    halves = {("d", c): [[PictureFile(f"{c}/{h}{i}", f"{h}{i}") for i in range(10)] for h in (0, 1)] for c in "abcdefg"}
    planned = [plan_stack(None, suspects, halves, n) for n in range(9)]
    assert [job.right for job in planned] == [0, 1, 2] * 3 and len({job.suspects[0].concept for job in planned}) > 3
    for job in planned:
        assert len({s.concept for s in job.suspects}) == len(SCALES)
        own = job.suspects[job.right].concept
        assert [p.file[:3] for p in job.pictures] == [f"{own}/0"] * PICTURES + [f"{own}/1"] * PICTURES


def test_the_committed_count():
    """What the docs conclude from it."""
    report = json.loads((RESULTS / "mini" / "stacks" / "stacks.json").read_text())
    ordered, alike = report["corrections"]["ordered"], report["corrections"]["alike"]
    assert report["called without a correction"] == ordered["named"] >= 18 and ordered["named"] > alike["named"]
    for found in (ordered, alike):
        assert found["named for a set"] == report["stacks"] and found["anything named for an unused set"] == 0
        assert found["a wrong LoRA named"]["share"] <= 0.05
    assert report["right LoRA has the highest score"]["share"] == 1
    assert report["right LoRA has the largest contrast"]["share"] == 1
    assert report["unused called under their artist's LoRA, not corrected"]["share"] <= 0.05
