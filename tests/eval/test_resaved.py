"""A file saved anew: what is saved, how its p-values spread, and that the committed spread is small."""

import json

import numpy as np
import pytest

from cgidm.pictures.images import decode_picture
from eval.studies.resaved import TESTS, resaved_table, save_copies, spread_of
from tests.support.paths import RESULTS, pictures_of


def test_every_second_copy_has_the_pixels_of_the_first_and_no_two_the_same_bytes():
    path = pictures_of("rollandin-lora", "holdout")[0]
    copies = list(save_copies(path, 8))
    assert len({data for _, data in copies}) == 8
    pixels = [np.asarray(decode_picture(data, name, 128).image) for name, data in copies]
    original = np.asarray(decode_picture(path.read_bytes(), path.name, 128).image)
    assert [np.array_equal(p, original) for p in pixels] == [True, True, False, False] * 2
    assert max(abs(p - original).mean() for p in pixels) < 0.02, "nobody sees the difference"


def test_a_spread_is_told_in_ranks():
    found = spread_of([0.1, 0.2, 0.3], references=39)
    assert (found["least"], found["largest"], found["references"]) == (0.1, 0.3, 39)
    assert found["deviation"] == pytest.approx(0.1) and found["ranks"] == pytest.approx(4)


def test_saving_anew_moves_a_p_value_by_less_than_half_a_rank():
    report = json.loads((RESULTS / "resaved.json").read_text())
    for suspect in report["suspects"].values():
        assert suspect["copies"] == 200
        assert suspect["shared"]["ranks"] < 0.5
        assert suspect["mirror"]["deviation"] < 0.5 / (suspect["shared"]["references"] + 1)
        assert set(TESTS) < set(suspect)
    assert (RESULTS / "resaved.md").read_text() == resaved_table(report)
