"""A run put down and taken up again ends where an undisturbed one does, to the last bit."""

import pickle
from itertools import islice

import pytest
import torch

from cgidm import RecoveryConfig
from cgidm.method.run_state import continue_recovery, load_states, new_state, save_states
from tests.support.errors import refuses
from tests.support.worlds import generators, masked, world

CONFIG = RecoveryConfig(steps=12, draws=2, step_size=0.5, radius=2.0)


def begin(members):
    return new_state(members, masked(members), generators(len(members)))


def undisturbed(pair, members):
    state = begin(members)
    for _ in continue_recovery(pair, state, CONFIG):
        pass
    return state


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_cut_anywhere_saved_and_taken_up_it_ends_bit_identical(tmp_path):
    pair, members, _ = world(0)
    whole = undisturbed(pair, members)
    for cut in range(13):
        state = begin(members)
        for _ in continue_recovery(pair, state, CONFIG, cut):
            pass
        assert state.steps == cut
        save_states(tmp_path / "state.safetensors", [state, begin(members[:1])])
        taken_up, beside = load_states(tmp_path / "state.safetensors")
        assert same(beside, begin(members[:1]))
        for _ in continue_recovery(pair, taken_up, CONFIG):
            pass
        assert same(taken_up, whole)


def test_an_iterator_that_is_closed_leaves_a_state_that_can_be_taken_up():
    pair, members, _ = world(0)
    state = begin(members)
    run = continue_recovery(pair, state, CONFIG)
    seen = list(islice(run, 5))
    run.close()
    assert state.steps == 5 and torch.equal(state.z_hat, seen[-1].z)
    state = pickle.loads(pickle.dumps(state.on_cpu()))
    for _ in continue_recovery(pair, state, CONFIG):
        pass
    assert same(state, undisturbed(pair, members))


def test_a_copy_is_left_alone_by_later_steps():
    pair, members, _ = world(0)
    state = begin(members)
    run = continue_recovery(pair, state, CONFIG)
    next(run)
    kept = state.on_cpu()
    before = [v.clone() for v in vars(kept).values()]
    list(run)
    assert all(torch.equal(a, b) for a, b in zip(before, vars(kept).values(), strict=True))


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_state_is_one_sentence(tmp_path, damage):
    path = tmp_path / "state.safetensors"
    _, members, _ = world(0)
    save_states(path, [begin(members)])
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "cut" else b"hello")
    with refuses("method.damaged_state", name="state.safetensors"):
        load_states(path)
