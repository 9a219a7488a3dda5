"""Draws of (t, eps), configuration, schedules."""

import dataclasses

import pytest
import torch

from cgidm import PRESETS, NetworkEpsModel, RecoveryConfig, Schedule, UserError
from cgidm.method.config import find_preset
from cgidm.method.sampling import picture_generator, sample_noise, sample_times
from tests.support.errors import refuses
from tests.support.worlds import generators


def test_stratified_times_hit_every_stratum_once():
    times = sample_times(generators(50), 10, 100, 199, "stratified")
    assert ((times - 100) // 10 == torch.arange(10)).all()


def test_uniform_times_cover_the_range_and_nothing_else():
    times = sample_times(generators(4), 5000, 1, 999, "uniform")
    assert times.min() == 1 and times.max() == 999 and abs(times.double().mean() - 500) < 10


def test_a_picture_s_generator_depends_on_seed_bytes_and_purpose():
    draws = {
        torch.rand(1, generator=picture_generator(*args)).item()
        for args in ((0, "a", "x"), (1, "a", "x"), (0, "b", "x"), (0, "a", "y"), (0, "a", "x"))
    }
    assert len(draws) == 4


def test_noise_is_standard_normal():
    noise = sample_noise(generators(2), 100, torch.zeros(2, 4, 8, 8))
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"draws": 0}, {"radius": -1.0}, {"step_size": 0.0}, {"t_min": 5, "t_max": 4}, {"t_min": -1}],
)
def test_impossible_settings_are_refused_in_one_line(wrong):
    with pytest.raises(UserError) as error:
        RecoveryConfig(**wrong)
    assert error.value.code.startswith("method.")
    assert "\n" not in str(error.value) and all(str(v) in str(error.value) for v in wrong.values())


def test_presets_are_what_their_names_promise():
    paper, reference, fast = (PRESETS[n] for n in ("paper", "reference", "fast"))
    assert (paper.recovery.steps, paper.recovery.draws, paper.recovery.noise) == (1000, 1, "shared")
    changed = {f.name for f in dataclasses.fields(paper) if getattr(paper, f.name) != getattr(reference, f.name)}
    assert changed == {"preset", "recovery", "encoding"} and reference.encoding == "sample"
    assert reference.recovery == dataclasses.replace(paper.recovery, noise="independent")
    assert fast.recovery.evaluations() <= paper.recovery.evaluations() / 5
    with refuses("method.unknown_preset", accepted=["paper", "reference", "fast"]):
        find_preset("slow")


@pytest.mark.parametrize("kind", ["eps", "v", "flow"])
def test_every_prediction_type_is_the_same_eps(kind):
    g = torch.Generator().manual_seed(0)
    x_0, eps = (torch.randn(4, 1, 8, 8, generator=g) for _ in range(2))
    t = torch.tensor([1, 250, 500, 998])
    if kind == "flow":
        schedule = Schedule.flow(torch.linspace(0.001, 1, 1000))
    else:
        schedule = Schedule.ddpm(torch.linspace(0.999, 0.01, 1000))
    alpha, sigma = (c[t][:, None, None, None] for c in (schedule.alpha, schedule.sigma))
    raw = {"eps": eps, "v": alpha * eps - sigma * x_0, "flow": eps - x_0}[kind]
    doubled = torch.cat([raw, torch.ones_like(raw)], 1)  # a learnt variance must not matter
    model = NetworkEpsModel(lambda x, timestep: doubled, schedule, kind)
    torch.testing.assert_close(model.predict_eps(schedule.add_noise(x_0, eps, t), t), eps)
