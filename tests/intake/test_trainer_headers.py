"""Files of every trainer for the exact architectures: each key has its module, and the notes are read right."""

from dataclasses import asdict

import pytest

from cgidm.families.changes.methods import fits
from cgidm.families.changes.targets import find_targets
from cgidm.intake.adapters import change_shape, kind_of
from cgidm.intake.family import BASES, guess_base
from cgidm.intake.inspect import suggest_prompt
from cgidm.intake.layout import open_checkpoint
from cgidm.training.recipe_reader import read_recipe
from tests.support.trainer_headers import networks, trainer_files

FILES = trainer_files()


@pytest.fixture(scope="module")
def targets():
    """family -> network -> module as a file may name it -> module."""
    return {
        family: {name: find_targets(part, name) for name, part in vars(networks(family)).items()}
        for family in ("SD 1.x", "SDXL")
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.trainer}, {file.family}")
def test_every_key_has_its_module_and_the_notes_are_read(targets, tmp_path, file):
    checkpoint = open_checkpoint(str(file.write(tmp_path)))
    adapter, shapes = checkpoint.adapter, checkpoint.tensors
    assert adapter is not None and adapter.dialect == file.dialect and adapter.count() == dict(file.counts)
    assert sum(map(len, adapter.modules.values())) == len(shapes) == sum(file.counts.values()) * len(file.parts)
    found = {component: set() for component in file.counts}
    for (component, module), parts in adapter.modules.items():
        (region,) = targets[file.family][component][module]
        target = region.module
        weight = tuple(getattr(networks(file.family), component).get_submodule(target).weight.shape)
        change = change_shape({part: shapes[key].shape for part, key in parts.items()})
        assert change is not None and fits(kind_of(parts.keys()), change, weight)
        found[component].add(target)
    assert found == {component: set(names) for component, names in file.modules.items()}
    guess = guess_base(checkpoint)
    assert (guess.family, guess.base, guess.disagreement) == (file.family, BASES[file.family], None)
    assert suggest_prompt(checkpoint) == file.prompt
    recipe = read_recipe(checkpoint, {})
    read = asdict(recipe.training) | {"images": recipe.images}
    assert {key: read[key] for key in file.recipe} == dict(file.recipe)
