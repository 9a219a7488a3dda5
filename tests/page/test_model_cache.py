"""Pairs that the page keeps loaded: the same one for the same models, up to a limit, and never a shared network."""

import pytest

from cgidm.page.runs import model_cache
from cgidm.page.runs.model_cache import Pairs, RequestedModels, expected_size, open_models, size_of
from cgidm.resources import SHIPPED, SHIPPED_BASE

pytestmark = pytest.mark.slow

FIRST, SECOND = (
    open_models(RequestedModels(SHIPPED_BASE, SHIPPED + s, None, "sks style"))
    for s in ("gerald-g-dreambooth", "rollandin-lora")
)


def test_the_same_models_are_loaded_once_and_no_two_pairs_share_a_network():
    pairs = Pairs()
    first, second = pairs.get(FIRST), pairs.get(SECOND)
    assert pairs.get(FIRST) is first and len(pairs) == 2
    weights = [{w.data_ptr() for network in p.networks for w in network.parameters()} for p in (first, second)]
    assert not weights[0] & weights[1]
    assert size_of(first) <= expected_size(FIRST) and size_of(second) <= expected_size(SECOND)


def test_another_prompt_is_another_pair():
    other = open_models(RequestedModels(SHIPPED_BASE, SHIPPED + "rollandin-lora", None, "a cat"))
    again = open_models(RequestedModels(SHIPPED_BASE, SHIPPED + "rollandin-lora", None, "sks style"))
    assert len({SECOND.key, other.key, FIRST.key}) == 3 and again.key == SECOND.key


def test_the_pair_used_longest_ago_goes_before_the_next_is_loaded():
    pairs = Pairs(limit=expected_size(FIRST) + 1)
    first = pairs.get(FIRST)
    pairs.get(SECOND)
    assert len(pairs) == 1 and pairs.get(SECOND) is pairs.get(SECOND)
    assert pairs.get(FIRST) is not first and len(pairs) == 1


def test_a_pair_that_is_in_use_has_room_to_compute(monkeypatch, capsys):
    """The others go when the device has less left than its plan wants; the log says the plan and no name."""
    left = [10**12]
    monkeypatch.setattr(model_cache, "free_memory", lambda device: left[0])
    pairs = Pairs()
    first = pairs.get(FIRST)
    pairs.get(SECOND)
    assert len(pairs) == 2
    left[0] = first.memory.working
    assert pairs.get(FIRST) is first and len(pairs) == 2
    left[0] -= 1
    assert pairs.get(FIRST) is first and len(pairs) == 1
    left[0] = 0
    assert len(pairs) == 1 and pairs.get(SECOND) is not first and len(pairs) == 1
    said = capsys.readouterr().out
    assert said.count("16 rows at once") == 3 and "two networks" in said and "rollandin" not in said
