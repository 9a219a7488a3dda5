"""The contrasting objective: what separates the suspect from its base."""

from jaxtyping import Float, Int
from torch import Tensor

from .models import EpsModel, ModelPair
from .schedule import Schedule


def denoising_loss(
    model: EpsModel,
    schedule: Schedule,
    z: Float[Tensor, "b c h w"],
    t: Int[Tensor, " b"],
    eps: Float[Tensor, "b c h w"],
) -> Float[Tensor, " b"]:
    """||eps - eps_model(z_t, t)||^2 of each sample (Eq. 3), summed over its entries.

    A sum and not a mean, as the equation has it: divided by the 16,384 entries of a latent, a half-precision
    gradient would underflow. Steps are normalised, so the scale costs nothing.
    """
    z_t = schedule.add_noise(z, eps, t)
    return (model.predict_eps(z_t, t) - eps).square().flatten(1).sum(1)


def contrast(
    pair: ModelPair, z: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], eps: Float[Tensor, "b c h w"]
) -> Float[Tensor, " b"]:
    """L_tar(z, t, eps) of Eq. 7: how much better the suspect denoises `z` than the base, at one (t, eps).

    Averaged over t and eps it estimates the gap between the two models' denoising losses, so a larger value means
    "more familiar to the suspect than to the public model".
    """
    base = denoising_loss(pair.base, pair.schedule, z, t, eps)
    return base - denoising_loss(pair.suspect, pair.schedule, z, t, eps)
