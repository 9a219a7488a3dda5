"""Figures: what they are drawn from, that they can be read as pictures, and that they do not change by themselves."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eval.analysis.plots import plot_evaluations, plot_roc, plot_scores, roc_steps
from tests.support.score_tables import coin, crossed, perfect

PAIRS = [("cgidm", "removed_alignment"), ("loss_contrast", "contrast")]


@pytest.fixture(scope="module")
def rows():
    return pd.concat(
        [
            *(crossed(lambda m, e: m + e, evaluations=n) for n in (8, 60)),
            crossed(perfect, PAIRS[1]),
            crossed(coin, role="innocent", training="none"),
        ]
    )


DRAW = {
    "roc": lambda rows, out: plot_roc(rows, PAIRS, out),
    "scores": lambda rows, out: plot_scores(rows, PAIRS[0], out),
    "evaluations": lambda rows, out: plot_evaluations(rows, PAIRS, out),
}


@pytest.mark.parametrize("name", DRAW)
def test_the_same_rows_in_any_order_give_the_same_bytes(name, rows, tmp_path):
    DRAW[name](rows, tmp_path / "a" / "1.png")
    DRAW[name](rows.sample(frac=1, random_state=0), tmp_path / "2.png")
    assert (tmp_path / "a" / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    with Image.open(tmp_path / "2.png") as picture:
        assert picture.width > 500 and "Software" not in picture.info
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_a_single_panel_holds_its_legend(tmp_path):
    """A legend that is wider than the figure would be cut at its edges, which are white else."""
    pairs = [("reference", m) for m in ("removed_alignment", "removed_cosine", "efficientnet_lite0")]
    plot_evaluations(pd.concat([crossed(coin, pair) for pair in pairs]), pairs, tmp_path / "1.png")
    with Image.open(tmp_path / "1.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert (pixels[:, [0, -1]] == 255).all()


@pytest.mark.parametrize("name", DRAW)
def test_nothing_to_draw_is_an_error(name, rows, tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        DRAW[name](rows.assign(method="another"), tmp_path / "1.png")


def test_roc_steps_start_at_one_false_positive():
    table = pd.DataFrame({"member": [1, 1, 1, 0, 0, 0, 0], "score": [9, 7, 2, 8, 3, 3, 1]})
    found, rates = roc_steps(table)
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1])
    assert found == pytest.approx([2 / 3, 2 / 3, 1, 1])  # both holdouts at 3 are called together


def test_roc_steps_of_a_perfect_method_are_all_one():
    assert (roc_steps(crossed(perfect))[0] == 1).all()
