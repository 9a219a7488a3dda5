"""Parts of a module with shapes that no trainer writes are refused by name, whatever they are."""

import random

import pytest

from cgidm.errors import UserError
from cgidm.intake.adapters.shapes import COMPANIONS, COMPLETE, check_module

SHAPES = ((), (0,), (1,), (4,), (4, 4), (4, 1), (1, 4), (0, 4), (2, 2, 2), (4, 4, 1, 1), (4, 4, 3, 3), (1, 2, 3, 4, 5))
CODES = {"intake.adapter_shapes", "intake.adapter_alpha_shape", "intake.adapter_rank_zero"}


@pytest.mark.parametrize("factors", COMPLETE, ids=lambda factors: " ".join(sorted(factors)))
def test_any_shapes_are_read_or_refused(factors):
    rng, outcomes = random.Random(0), set()
    for _ in range(300):
        shapes = {part: rng.choice(SHAPES) for part in sorted(factors)}
        shapes |= {part: rng.choice(SHAPES) for part in sorted(COMPANIONS) if rng.random() < 0.3}
        try:
            check_module("module", shapes, "file")
        except UserError as error:
            outcomes.add(error.code)
    assert "intake.adapter_shapes" in outcomes and outcomes <= CODES
