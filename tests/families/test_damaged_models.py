"""Models that are damaged at random load or are refused: never a traceback, never slow, never large."""

import pytest

from scripts.fuzz_models import fuzz_adapters, fuzz_models


@pytest.mark.slow
def test_models_damaged_at_random_load_or_are_refused(tmp_path):
    found = fuzz_models(60, seed=1, folder=tmp_path)
    assert found.failures == []
    assert sum(found.outcomes.values()) == 60 and 5 < found.outcomes["loaded"] < 50 and len(found.outcomes) > 8


@pytest.mark.slow
def test_adapters_damaged_at_random_load_or_are_refused(tmp_path):
    found = fuzz_adapters(60, seed=1, folder=tmp_path)
    assert found.failures == []
    assert sum(found.outcomes.values()) == 60 and 5 < found.outcomes["loaded"] < 50 and len(found.outcomes) > 8
