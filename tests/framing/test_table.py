"""A framing goes through JSON and comes back; what anyone wrote into it is refused with a code."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgidm.errors import UserError
from cgidm.framing.ai_toolkit import AiToolkit
from cgidm.framing.diffusers_scripts import DiffusersScript
from cgidm.framing.frame import CentreSquare
from cgidm.framing.kohya import Kohya
from cgidm.framing.musubi import Musubi
from cgidm.framing.one_trainer import OneTrainer
from cgidm.framing.simple_tuner import SimpleTuner
from cgidm.framing.table import RULES, framing_of_table, framing_to_table
from tests.support.errors import refuses

FRAMINGS = [
    CentreSquare(resolution=512),
    Kohya(resolution=(512, 768), step=32, no_upscale=True, random_crop=True, interpolation="box"),
    Kohya(resolution=(512, 512), buckets=False),
    Musubi(resolution=(960, 544), no_upscale=True),
    OneTrainer(resolution=768, step=8, random_crop=False),
    OneTrainer(exact_size=(832, 1216)),
    AiToolkit(resolution=768, interpolation="lanczos"),
    SimpleTuner(resolution=0.5, unit="area", crop_style="centre"),
    SimpleTuner(),
    DiffusersScript(resolution=1024, random_crop=False),
]


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: type(framing).__name__)
def test_a_framing_comes_back_from_json(framing):
    table = json.loads(json.dumps(framing_to_table(framing)))
    assert framing_of_table(table) == framing
    assert framing_of_table(table).frame(600, 900) == framing.frame(600, 900)


def test_every_rule_is_tried_and_has_defaults():
    assert {type(framing) for framing in FRAMINGS} == set(RULES.values())
    assert framing_of_table({"rule": "one_trainer"}) == OneTrainer()
    assert framing_of_table({"rule": "kohya", "resolution": [512, 512]}) == Kohya(resolution=(512, 512))


def test_a_framing_of_no_rule_has_no_table():
    class Other(CentreSquare):
        pass

    with pytest.raises(TypeError):
        framing_to_table(Other(side=8))


KOHYA = {"rule": "kohya", "resolution": [512, 512]}
WRONG = {
    "nothing": ({}, "unknown_rule"),
    "a rule of another version": ({"rule": "cascade"}, "unknown_rule"),
    "a rule that is no text": ({"rule": ["kohya"]}, "unknown_rule"),
    "no resolution": ({"rule": "kohya"}, "missing_setting"),
    "no side": ({"rule": "centre_square"}, "missing_setting"),
    "three sides": (KOHYA | {"resolution": [1, 2, 3]}, "bad_value"),
    "a side that is no whole number": (KOHYA | {"resolution": [512, 512.0]}, "bad_value"),
    "a truth as a number": (KOHYA | {"step": True}, "bad_value"),
    "a number as a truth": (KOHYA | {"buckets": 1}, "bad_value"),
    "a text as a number": (KOHYA | {"step": "64"}, "bad_value"),
    "an unknown filter": (KOHYA | {"interpolation": "nearest"}, "bad_value"),
    "an unknown unit": ({"rule": "simple_tuner", "unit": "feet"}, "bad_value"),
    "not a number": ({"rule": "simple_tuner", "resolution": float("nan")}, "bad_value"),
    "a setting of another rule": (KOHYA | {"exact_size": None}, "unknown_setting"),
    "a huge number": ({"rule": "simple_tuner", "resolution": 10**400}, "bad_number"),
    "huge sides": (KOHYA | {"resolution": [10**9, 10**9]}, "bad_number"),
    "a negative step": (KOHYA | {"step": -64}, "bad_number"),
    "no step": (KOHYA | {"step": 0}, "bad_number"),
    "a side below a step": (KOHYA | {"least_side": 8}, "bucket_sides"),
    "a square of no pixel": ({"rule": "centre_square", "resolution": 0}, "bad_number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_has_its_code(name):
    table, code = WRONG[name]
    with refuses(f"framing.{code}") as caught:
        framing_of_table(table)
    assert len(str(caught.value)) < 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=8), parts, max_size=4),
    max_leaves=8,
)
names = sorted({name for framing in FRAMINGS for name in framing_to_table(framing)} - {"rule"})


@settings(settings.get_profile("fast"))
@given(rule=st.sampled_from(sorted(RULES)), values=st.dictionaries(st.sampled_from(names), json_values, max_size=4))
def test_any_json_is_a_framing_or_an_error_with_a_code(rule, values):
    try:
        framing = framing_of_table(values | {"rule": rule})
    except UserError as error:
        assert error.code.startswith("framing.")
    else:
        assert framing_of_table(framing_to_table(framing)) == framing
