"""The contrast of velocities against Eq. 7, where both exist: rectified flow, and DDPM's noise read as flow."""

from dataclasses import dataclass, replace

import pytest
import torch

from cgidm import ModelPair, NetworkEpsModel
from cgidm.method.mirror import mirror_losses
from cgidm.method.models import EpsModel, VelocityModel
from cgidm.method.objective import contrast, predict, target
from cgidm.method.schedule import Schedule
from tests.support.worlds import generators, stable_diffusion_schedule


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A noise predictor of a variance-preserving schedule, smooth and of no symmetry."""

    schedule: Schedule
    shift: float

    def predict_eps(self, x_t, t):
        time = self.schedule.timesteps[t].to(x_t)[:, None, None, None] / 1000
        return torch.tanh(x_t + self.shift * x_t.roll(1, -1) + time) + self.shift * time


@dataclass(frozen=True, eq=False)
class AsFlow:
    """The same network, asked for the velocity at the point of the straight path that has its noise."""

    denoiser: Denoiser
    flow: Schedule

    def predict_velocity(self, x_t, t):
        alpha, sigma = (v.to(x_t)[t, None, None, None] for v in (self.flow.alpha, self.flow.sigma))
        eps = self.denoiser.predict_eps(x_t / (alpha**2 + sigma**2).sqrt(), t)
        return (eps - x_t) / alpha  # of x_t = alpha x_0 + sigma eps: eps - x_0, with alpha = 1 - sigma

    def predict_eps(self, x_t, t):
        return self.flow.eps_from_flow(self.predict_velocity(x_t, t), x_t, t)


def samples(count=6, rows=1000):
    z, eps = (torch.randn(count, 3, 8, 8, generator=generators(1, seed)[0], dtype=torch.float64) for seed in (1, 2))
    return z, torch.linspace(1, rows - 2, count).long(), eps


@pytest.fixture
def worlds():
    """One pair of networks, on DDPM's schedule and on the straight path with the same ratio of noise to picture."""
    ddpm = stable_diffusion_schedule()
    ddpm = Schedule(ddpm.alpha.double(), ddpm.sigma.double(), ddpm.timesteps.double())
    ratio = ddpm.sigma / (ddpm.alpha + ddpm.sigma)
    flow = Schedule(1 - ratio, ratio, ddpm.timesteps, is_flow=True)
    denoisers = [Denoiser(ddpm, shift) for shift in (0.3, 0.5)]
    return ModelPair(*denoisers, schedule=ddpm), ModelPair(*(AsFlow(d, flow) for d in denoisers), schedule=flow)


def test_eq_7_of_ddpm_is_the_contrast_of_velocities_times_the_share_of_the_picture_squared(worlds):
    """x_t of the straight path is that of DDPM, scaled, so the network sees the same and its noise is the same."""
    ddpm, flow = worlds
    z, t, eps = samples()
    noise, velocity = contrast(ddpm, z, t, eps), contrast(flow, z, t, eps)
    torch.testing.assert_close(noise, flow.schedule.alpha[t] ** 2 * velocity, rtol=1e-9, atol=1e-9)
    assert noise.abs().min() > 1e-3 and not torch.allclose(noise, velocity, rtol=0.1)


def test_in_rectified_flow_the_error_of_the_noise_is_a_share_of_that_of_the_velocity(worlds):
    _, flow = worlds
    z, t, eps = samples()
    as_noise = replace(flow, schedule=replace(flow.schedule, is_flow=False))
    expected = (1 - flow.schedule.sigma[t]) ** 2 * contrast(flow, z, t, eps)
    torch.testing.assert_close(contrast(as_noise, z, t, eps), expected, rtol=1e-9, atol=1e-9)


def test_the_mirror_test_and_the_contrast_are_of_the_same_loss(worlds):
    for pair in worlds:
        z, _, _ = samples(2)
        both = torch.stack([z, z.flip(-1)], dim=1)
        losses = mirror_losses(pair.base, pair.schedule, both, 2, 0, 16)
        x_t, t = pair.schedule.add_noise(z, z.flip(0), torch.tensor([3, 700])), torch.tensor([3, 700])
        wrong = predict(pair.base, pair.schedule, x_t, t) - target(pair.schedule, z, z.flip(0))
        assert losses.shape == (2, 2, 2, 8, 8) and wrong.isfinite().all()
    assert torch.equal(target(worlds[0].schedule, z, z.flip(0)), z.flip(0))
    assert torch.equal(target(worlds[1].schedule, z, z.flip(0)), z.flip(0) - z)


def test_a_network_of_flow_answers_in_both():
    schedule = Schedule.flow(torch.linspace(0.001, 1, 1000))
    model = NetworkEpsModel(lambda x, t: x * t[:, None, None, None] / 1000, schedule, "flow")
    assert isinstance(model, VelocityModel) and isinstance(model, EpsModel)
    x, t = torch.randn(2, 3, 4, 4), torch.tensor([0, 999])
    assert torch.equal(model.predict_eps(x, t), schedule.eps_from_flow(model.predict_velocity(x, t), x, t))
    assert schedule.to(torch.device("cpu")).is_flow and not stable_diffusion_schedule().is_flow
    with pytest.raises(AssertionError):
        replace(model, prediction="eps").predict_velocity(x, t)
