"""How a sentence is made of a code and its parameters, in every language."""

import re
import string
from typing import get_args

import pytest

from cgidm.messages import Language, english, note, render, translations

LANGUAGES = get_args(Language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_full_stop_is_doubled(language):
    """What a library or another program says may end with one."""
    table, found = translations(language) or english(), 0
    for code, sentence in table.items():
        fields = [(name, spec) for _, name, spec, _ in string.Formatter().parse(sentence) if name]
        if all(re.fullmatch(r"\w+", name) and not spec for name, spec in fields):  # texts, not numbers
            said = render(code, {name: "No such file." for name, _ in fields}, table)
            assert not re.search(r"\.\.|\.。", said.replace("...", "")), said
            found += "file" in said
    assert found > 100


def test_a_full_stop_is_taken_from_the_end_of_a_sentence_alone():
    cause = note("families.library_error", text="no file named config.json.")
    said = render("families.cannot_be_loaded", {"role": "base", "name": "a.", "cause": cause})
    assert said.startswith("The base model a. cannot be loaded: no file named config.json. Use ")
