"""The recovery of a picture beside that of its mirror image: same cells removed, same noise mirrored."""

import dataclasses

import pytest
import torch

from cgidm import ModelPair, Picture
from cgidm.judging.batches import make_batches
from cgidm.judging.scoring import score_recovery
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.method.run_state import RunState, continue_recovery, decode_recovery, load_states, save_states
from cgidm.pictures.embedders import Embedders
from cgidm.run.recoveries import start_recovery
from tests.support.worlds import IdealEpsModel, world

CONFIG = RunConfig(
    recovery=RecoveryConfig(steps=40, step_size=0.5, radius=6.0), start="interpolated", mirrored_recovery=True
)


def pictures(z):
    return [Picture(f"{i}.png", f"{i:064d}", image) for i, image in enumerate(z)]


def recovered(pair, z, config=CONFIG, cut=None) -> RunState:
    state = start_recovery(make_batches(pair, pictures(z))[0], config)
    for _ in continue_recovery(pair, state, config.recovery, cut):
        pass
    return state


def knows_both(pair):
    """The same models, each of which was shown mirror images as well."""
    both = [IdealEpsModel(torch.cat([m.data, m.data.flip(-1)]), m.schedule) for m in (pair.base, pair.suspect)]
    return ModelPair(*both, pair.schedule, codec=pair.codec)


@pytest.mark.parametrize("partial", ["block4", "right_half"])
@pytest.mark.parametrize("noise", ["shared", "independent"])
def test_models_that_know_both_bring_both_back_alike(partial, noise):
    pair, members, _ = world(0, 3)
    recovery = dataclasses.replace(CONFIG.recovery, noise=noise)
    state = recovered(knows_both(pair), members, dataclasses.replace(CONFIG, partial=partial, recovery=recovery))
    own, mirrored = state.pictures, state.mirrored
    assert mirrored is not None and len(own.z) == len(mirrored.z) == len(members)
    torch.testing.assert_close(mirrored.mask.flip(-1), own.mask, atol=0, rtol=0)
    torch.testing.assert_close(mirrored.z_hat.flip(-1), own.z_hat, atol=1e-9, rtol=0)
    torch.testing.assert_close(mirrored.contrast, own.contrast, atol=1e-9, rtol=0)
    assert (own.z_hat - own.start).abs().max() > 0.1, "nothing moved"


def test_a_suspect_without_flips_brings_back_the_picture_and_not_its_mirror_image():
    pair, members, holdout = world(0, 3)
    scores = {}
    for name, z in (("used", members), ("unused", holdout)):
        state = recovered(pair, z)
        scores[name] = score_recovery(z, state, decode_recovery(pair, state), Embedders())["alignment_difference"]
    assert scores["used"].mean() > 0.3 > abs(scores["unused"].mean())


def test_the_picture_s_own_recovery_does_not_change():
    pair, members, _ = world(0, 3)
    beside, alone = (
        recovered(pair, members),
        recovered(pair, members, dataclasses.replace(CONFIG, mirrored_recovery=False)),
    )
    assert alone.mirrored is None and torch.equal(alone.pictures.z_hat, alone.z_hat)
    torch.testing.assert_close(beside.pictures.z_hat, alone.z_hat, atol=1e-9, rtol=0)
    torch.testing.assert_close(beside.pictures.contrast, alone.contrast, atol=1e-9, rtol=0)


def test_put_down_anywhere_it_ends_bit_identical(tmp_path):
    pair, members, _ = world(0, 3)
    whole = recovered(pair, members[:2])
    for cut in (0, 1, 17, 40):
        save_states(tmp_path / "state.safetensors", [recovered(pair, members[:2], cut=cut)])
        (state,) = load_states(tmp_path / "state.safetensors")
        for _ in continue_recovery(pair, state, CONFIG.recovery):
            pass
        assert all(torch.equal(a, b) for a, b in zip(vars(state).values(), vars(whole).values(), strict=True))
