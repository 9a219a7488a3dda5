"""The drawings of an answer: true to the numbers, readable to everyone, whatever a record holds."""

import re

import numpy as np
import pytest

from cgidm.page.html.svg import Labels, axis_ticks, contrast_svg, distribution_svg, format_number
from tests.support.page_records import Reader

LABELS = Labels("title", "description", "Your picture", "0: known as well as by the base")


def places(svg, tag="circle", name="cx"):
    return [float(a[name]) for t, a in Reader(svg).elements if t == tag and name in a]


def mark(svg):
    (x,) = [float(a["x1"]) for t, a in Reader(svg).elements if a.get("class") == "cg-mark"]
    return x


@pytest.mark.parametrize("score", [-5.0, -0.4, 0.3, 5.0])
def test_the_mark_stands_where_the_score_is(score):
    """As many dots lie left of the picture's line as controls lie below its score."""
    controls = np.random.default_rng(0).normal(size=40).tolist()
    svg = distribution_svg(score, controls, LABELS)
    dots = places(svg)
    assert len(dots) == 40 and dots == sorted(dots)
    assert sum(x < mark(svg) for x in dots) == sum(c < score for c in controls)


def test_dots_do_not_cover_each_other_while_there_is_room():
    svg = distribution_svg(0.0, np.linspace(-1, 1, 60).tolist(), LABELS)
    dots = np.array(list(zip(places(svg), places(svg, name="cy"), strict=True)))
    apart = np.linalg.norm(dots[:, None] - dots[None], axis=-1) + 1e3 * np.eye(60)
    assert apart.min() > 8.3


@pytest.mark.parametrize("score", [0.1, -3.0, 0.0, None, float("nan"), float("inf"), 1e308, 5e-324])
@pytest.mark.parametrize(
    "controls",
    [[], [0.2], [0.1] * 300, [None, float("nan"), -0.1], [1e308, -1.7e308], [0.0] * 3, [1e-320, 1e300]],
)
def test_any_scores_can_be_drawn(score, controls):
    for svg in (distribution_svg(score, controls, LABELS), contrast_svg([score, *controls], LABELS, 1000)):
        Reader(svg)
        drawn = re.sub(r">[^<]*<|aria-label=\"[^\"]*\"", "", svg)
        assert not re.search(r"nan|inf\b|[0-9]e[+-]", drawn)
        for tag, name in (("circle", "cx"), ("line", "x1"), ("text", "x")):
            assert all(0 <= x <= 420 for x in places(svg, tag, name))
        assert all(0 <= y <= 154 for y in places(svg, name="cy"))


def test_a_curve_has_the_whole_run_as_its_axis():
    def ends(svg):
        (points,) = [a["points"] for t, a in Reader(svg).elements if a.get("class") == "cg-average"]
        return [float(p.split(",")[0]) for p in points.split()]

    values = [0.001 * i for i in range(1000)]
    whole, half = ends(contrast_svg(values, LABELS)), ends(contrast_svg(values[:500], LABELS, 1000))
    assert whole == sorted(whole) and len(whole) <= 250 and max(whole) > max(half) > 0.4 * max(whole)


def test_a_drawing_has_words_for_those_who_do_not_see_it():
    svg = distribution_svg(0.1, [0.2], Labels('a "<title>', "what & why", "<mark>", "<zero>"))
    root = Reader(svg).elements[0][1]
    assert root["role"] == "img" and root["aria-label"] == 'a "<title>. what & why'
    assert "<mark>" in Reader(svg).text and "<zero>" in Reader(svg).text


def test_numbers_are_the_same_for_every_reader():
    shown = {0.0: "0", 0.12345: "0.123", -2.0: "\N{MINUS SIGN}2.000", 1e-5: "1.0e\N{MINUS SIGN}05", 1e9: "1.0e+09"}
    assert {value: format_number(value) for value in shown} == shown and format_number(-0.0) == "0"
    assert axis_ticks(-0.31, 0.22) == pytest.approx([-0.2, 0.0, 0.2])
