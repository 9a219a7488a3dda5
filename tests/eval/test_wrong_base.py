"""Suspects judged against another base: how it is counted."""

import numpy as np
import pytest

from cgidm.judging.mirror_test import NullGroup
from eval.error_rates import wrong_base
from eval.error_rates.wrong_base import CASES, JUDGED, ArtistScores, CaseScores, count_cases, general_pictures


@pytest.fixture(autouse=True)
def nulls(monkeypatch):
    g = np.random.default_rng(0)
    groups = [NullGroup(artist=f"d/{i}", training="lora", scores=tuple(g.normal(size=20))) for i in range(20)]
    monkeypatch.setattr(wrong_base, "table_groups", lambda base: groups)


def case(used, unused=0.0, general=0.0, flags=(), distance=None):
    scores = {role: (s,) * JUDGED for role, s in (("used", used), ("unused", unused), ("general", general))}
    return CaseScores(scores=scores, flags=flags, weight_distance=distance)


def test_every_case_is_counted_by_itself():
    cases = [case(6.0) for _ in CASES]
    cases[3] = case(0.0)
    cases[5] = case(6.0, general=6.0, flags=("unstable",), distance=0.25)
    rows = count_cases([ArtistScores(artist="d/a", cases=tuple(cases))] * 2, [])
    assert [(r["suspect"], r["made from"], r["judged against"]) for r in rows] == list(CASES)
    assert [r["AUC"] for r in rows] == [1, 1, 1, 0.5, 1, 1]
    assert [r["used"]["share"] for r in rows] == [1, 1, 1, 0, 1, 1]
    assert [r["unused"]["count"] for r in rows] == [0] * 6
    assert [r["general"]["share"] for r in rows] == [0] * 5 + [1]
    assert rows[5]["flags"] == ["unstable"] and rows[5]["weight distance"] == 0.25
    assert rows[0]["flags"] == [] and rows[0]["weight distance"] is None


def test_the_descendant_learns_only_general_pictures(tmp_path):
    (tmp_path / "pretrain").mkdir()
    for name in ("coco_1", "openimages_1", "imagenet_1", "wikiart_1"):
        (tmp_path / "pretrain" / f"{name}.jpg").write_bytes(name.encode())
    found = {p.file for p in general_pictures(tmp_path)}
    assert found == {f"pretrain/{name}.jpg" for name in ("coco_1", "openimages_1", "wikiart_1")}
