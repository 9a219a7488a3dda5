"""The plot of scores draws any name as it is, and warns of none."""

import dataclasses

import pytest

from tests.support.errors import refuses
from tests.support.results import result_of

NAMES = {
    "水本ゆかり.png": "水本ゆかり.png",
    "a$\\frac{b$.png": "a$\\frac{b$.png",  # as a formula it cannot be set
    "a\x1b[31m\n.png": "a[31m .png",
    "한.png": "[U+D55C].png",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_drawn(name, tmp_path):
    result = result_of([2.0])
    (only,) = result.pictures
    named = dataclasses.replace(only, picture=dataclasses.replace(only.picture, name=name))
    figure = dataclasses.replace(result, pictures=(named,)).plot()
    figure.savefig(tmp_path / "a.png")  # a warning is an error
    assert [text.get_text() for text in figure.axes[0].texts] == [NAMES[name]]


def test_nothing_to_compare_is_nothing_to_draw():
    with refuses("judging.nothing_to_plot"):
        result_of([2.0], controlled=False).plot()
