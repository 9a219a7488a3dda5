"""Pairs that the page keeps loaded: the same one for the same models, up to a limit, and never a shared network."""

from page.models import SHIPPED, SHIPPED_BASE, Pairs, Wanted, expected_size, open_models, size_of

FIRST, SECOND = (
    open_models(Wanted(SHIPPED_BASE, SHIPPED + s, None, "sks style")) for s in ("gerald-g-dreambooth", "rollandin-lora")
)


def test_the_same_models_are_loaded_once_and_no_two_pairs_share_a_network():
    pairs = Pairs()
    first, second = pairs.get(FIRST), pairs.get(SECOND)
    assert pairs.get(FIRST) is first and len(pairs) == 2
    weights = [{w.data_ptr() for network in p.networks for w in network.parameters()} for p in (first, second)]
    assert not weights[0] & weights[1]
    assert size_of(first) <= expected_size(FIRST) and size_of(second) <= expected_size(SECOND)


def test_another_prompt_is_another_pair():
    other = open_models(Wanted(SHIPPED_BASE, SHIPPED + "rollandin-lora", None, "a cat"))
    again = open_models(Wanted(SHIPPED_BASE, SHIPPED + "rollandin-lora", None, "sks style"))
    assert len({SECOND.key, other.key, FIRST.key}) == 3 and again.key == SECOND.key


def test_the_pair_used_longest_ago_goes_before_the_next_is_loaded():
    pairs = Pairs(limit=expected_size(FIRST) + 1)
    first = pairs.get(FIRST)
    pairs.get(SECOND)
    assert len(pairs) == 1 and pairs.get(SECOND) is pairs.get(SECOND)
    assert pairs.get(FIRST) is not first and len(pairs) == 1
