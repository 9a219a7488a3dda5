"""What is said around an answer: how to read it, what it does not rest on, and what of a link was not understood."""

import re

import pytest

from cgidm.judging.verdict import LEVEL, STRICT_LEVEL
from cgidm.page.html.answer import reasons_html
from cgidm.page.html.i18n import LANGUAGES, translate
from cgidm.page.ui.layout import _settings_of as settings_of
from tests.support.page_records import Reader, make_record, typed


@pytest.fixture
def record():
    return make_record()


def test_no_control_pictures_are_spoken_of_where_there_are_none(record):
    with_controls, without = (translate("en", key) for key in ("caveat.image", "caveat.image.mirror"))
    text = Reader(reasons_html(typed(record), "en")).text
    assert with_controls in text and without not in text
    record["control_scores"] = []
    text = Reader(reasons_html(typed(record), "en")).text
    assert without in text and with_controls not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_how_to_read_an_answer_names_the_test_that_decides_and_both_levels(language):
    said = translate(language, "read.text")
    name = re.match(r"[^:\uff1a]+", translate(language, "witness.mirror", p="", n=""))
    assert name is not None and name[0].strip().lower() in said.lower()
    assert str(LEVEL) in said and str(STRICT_LEVEL) in said


@pytest.mark.parametrize(
    ("query", "filled", "unknown"),
    [
        ({"preset": "turbo", "seed": "abc", "base": "nope"}, {"base": "nope"}, ["preset=turbo", "seed=abc"]),
        ({"seed": "-1", "lineup": "7", "search": "on"}, {}, ["seed=-1", "search=on", "lineup=7"]),
        ({"seed": "9" * 30, "preset": "x" * 100}, {}, [f"preset={'x' * 40}", f"seed={'9' * 40}"[:35]]),
        ({"preset": "paper", "seed": "7", "lineup": "20"}, {"preset": "paper", "seed": 7, "lineup": 20}, []),
    ],
)
def test_settings_of_a_link_that_are_not_known_are_named(query, filled, unknown):
    assert settings_of(query) == (filled, unknown)
