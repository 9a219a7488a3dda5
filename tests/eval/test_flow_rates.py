"""What is counted of LoRAs of the flow model, from scores alone."""

import numpy as np
import pytest

from cgidm.errors import UserError
from eval.error_rates.flow.loras import PARTS, FlowScores, count_recipe, flow_tables, read_recipes

ARTISTS, EACH = 6, 10


def scores(artist, contrast_of_members, seed):
    rng = np.random.default_rng(seed)
    member = (1,) * EACH + (0,) * EACH
    noise = rng.normal(size=(2, 2 * EACH))
    by_member = np.array(member)
    return FlowScores(
        recipe="sigmoid",
        dataset="d",
        artist=artist,
        half=0,
        files=tuple(f"{artist}/{i}.jpg" for i in range(2 * EACH)),
        member=member,
        contrast={"right": tuple(noise[0] + contrast_of_members * by_member), "blank": tuple(noise[0])},
        mirror=tuple(noise[1] + 20 * by_member),
        parts=tuple(tuple(float(m) if t < 5 else 0.0 for t in range(PARTS)) for m in member),
    )


@pytest.fixture
def report():
    found = [scores(f"a{i}", 100.0, i) for i in range(ARTISTS)]
    return {"recipes": [count_recipe(found, "sigmoid"), count_recipe(found, "shift")]}


def test_areas_rates_and_gaps_are_counted(report):
    counted = report["recipes"][0]
    assert counted["artists"] == ARTISTS
    assert counted["contrast"]["right"]["AUC"] == 1.0
    assert counted["contrast"]["right"]["gap"] == pytest.approx(100, abs=1)
    assert 0.3 < counted["contrast"]["blank"]["AUC"] < 0.7
    at_five = counted["mirror"]["pictures"][0]
    assert at_five["level"] == 0.05
    assert at_five["power"]["share"] == 1.0
    assert at_five["false calls"]["of"] == ARTISTS * EACH
    assert [part["gap"] for part in counted["by t"]] == [1.0] * 5 + [0.0] * 5
    assert [part["AUC"] for part in counted["by t"]] == [1.0] * 5 + [0.5] * 5


def test_a_recipe_that_nobody_trained_has_no_row(report):
    assert report["recipes"][1] == {"recipe": "shift", "artists": 0}
    lines = flow_tables(report).splitlines()
    assert not [line for line in lines if line.startswith("| shift")]
    assert (
        len([line for line in lines if line.startswith("| sigmoid")]) == 1 + 4 + 2
    )  # areas; rates; areas and gaps at t


def test_recipes_are_read_with_their_artists():
    assert read_recipes("sigmoid:12;sigmoid, 20 presentations:6") == [("sigmoid", 12), ("sigmoid, 20 presentations", 6)]


@pytest.mark.parametrize("given", ["sigmoid", "sigmoid:x", "none:3", "sigmoid:0", ""])
def test_what_is_no_recipe_is_refused(given):
    with pytest.raises(UserError) as error:
        read_recipes(given)
    assert error.value.code == "error_rates.unknown_recipe"
