"""Notes of trainings that people published: each is read as its trainer's rule says by hand, or is not known.

The tables are in `real_notes/`, one a file: where it was published, whether it is a part of the table, which keys were
derived from what the source says in words, the rule, and what follows from it. Tags are cut to a few. Texts that are
JSON in a file's header stand there as JSON.
"""

import json

import pytest
from safetensors.torch import load_file, save_file

from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.layout import open_checkpoint
from cgidm.intake.likely_framing import likely_framing
from cgidm.intake.notes import read_notes
from cgidm.intake.training_amount import read_amount
from cgidm.intake.training_notes import read_training
from cgidm.resources import find_example
from cgidm.training.recipe_reader import read_recipe
from tests.support.paths import ROOT

FILES = sorted((ROOT / "tests" / "intake" / "real_notes").glob("*.json"))
TABLES = {path.stem: json.loads(path.read_text("utf-8")) for path in FILES}


def header(notes):
    """The notes as a file's header holds them: texts."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in notes.items()}


@pytest.fixture
def suspect(tmp_path):
    """The shipped LoRA, with these notes in its file."""

    def noted(notes):
        (shipped,) = find_example("rollandin-lora").checkpoint.glob("*.safetensors")
        save_file(load_file(shipped), tmp_path / "noted.safetensors", header(notes))
        return open_checkpoint(str(tmp_path / "noted.safetensors"))

    return noted


def test_there_are_tables_of_many_trainers():
    assert len(TABLES) >= 12 and all(table["source"] and table["by_hand"] for table in TABLES.values())


@pytest.mark.parametrize("name", TABLES)
def test_a_published_table_is_read_as_its_trainers_rule_says(name):
    notes, expected = header(TABLES[name]["notes"]), TABLES[name]["expected"]
    amount, training = read_amount(notes), read_training(notes)
    assert amount.pictures == expected["pictures"]
    presentations = expected["presentations"]
    assert amount.presentations == (presentations and pytest.approx(presentations, rel=0.1))
    assert (amount.batch or training.batch) == expected["batch"]
    assert [note.code for note in amount.contradictions] == expected["contradictions"]
    settings = training.settings
    settings.pop("tags", None)
    assert settings == expected["settings"]
    read = read_notes(notes)
    assert read.fields.get("steps") == (expected["steps"] and str(expected["steps"]))
    assert read.prompt == expected["prompt"]


@pytest.mark.parametrize("name", TABLES)
def test_a_published_table_goes_through_inspection_recipe_and_framing(name, suspect):
    checkpoint, expected = suspect(TABLES[name]["notes"]), TABLES[name]["expected"]
    found = json.loads(json.dumps(inspect_checkpoint(checkpoint)))
    said = "\n".join(report_lines(found))
    assert (
        f"{expected['pictures']} pictures" in said if expected["pictures"] else "pictures, each presented" not in said
    )
    recipe = read_recipe(checkpoint, {})
    assert recipe.images == expected["pictures"]
    known = expected["presentations"] is not None
    assert ("steps_per_picture" in recipe.sources) == known
    assert not known or recipe.training.steps_per_picture == round(expected["presentations"])
    assert likely_framing(header(TABLES[name]["notes"]), 512).framing.frame(600, 800).size
