"""The contrasting objective: what separates the suspect from its base.

A network of rectified flow is trained on the velocity u = eps - x_0. Since x_t = (1 - sigma) x_0 + sigma eps, the noise
that it implies is x_t + (1 - sigma) u, so an error of the noise is (1 - sigma) times one of the velocity:

    ||eps - eps_model||^2 = (1 - sigma)^2 ||u - u_model||^2

Eq. 7 in the noise would hardly count the rows of much noise, on which such a network was trained like on any other. So
the loss of these networks is that of their training, in the velocity. `docs/method.md` derives it.
"""

from jaxtyping import Float, Int
from torch import Tensor

from .models import EpsModel, ModelPair, VelocityModel
from .schedule import Schedule


def predict(
    model: EpsModel, schedule: Schedule, z_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """Predict what the loss is of: the noise, or the velocity of rectified flow."""
    if schedule.is_flow:
        assert isinstance(model, VelocityModel)
        return model.predict_velocity(z_t, t)
    return model.predict_eps(z_t, t)


def target(schedule: Schedule, z: Float[Tensor, "b c h w"], eps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """What `predict` should answer: the noise, or the velocity from the picture to the noise."""
    return eps - z if schedule.is_flow else eps


def denoising_loss(
    model: EpsModel,
    schedule: Schedule,
    z: Float[Tensor, "b c h w"],
    t: Int[Tensor, " b"],
    eps: Float[Tensor, "b c h w"],
) -> Float[Tensor, " b"]:
    """||eps - eps_model(z_t, t)||^2 of each sample (Eq. 3), or that of the velocity, summed over its entries.

    A sum and not a mean, as the equation has it: divided by the 16,384 entries of a latent, a half-precision
    gradient would underflow. Steps are normalised, so the scale costs nothing.
    """
    z_t = schedule.add_noise(z, eps, t)
    return (predict(model, schedule, z_t, t) - target(schedule, z, eps)).square().flatten(1).sum(1)


def contrast(
    pair: ModelPair, z: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], eps: Float[Tensor, "b c h w"]
) -> Float[Tensor, " b"]:
    """L_tar(z, t, eps) of Eq. 7: how much better the suspect denoises `z` than the base, at one (t, eps).

    Averaged over t and eps it estimates the gap between the two models' denoising losses, so a larger value means
    "more familiar to the suspect than to the public model".
    """
    base = denoising_loss(pair.base, pair.schedule, z, t, eps)
    return base - denoising_loss(pair.suspect, pair.schedule, z, t, eps)
