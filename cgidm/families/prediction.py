"""Does a network predict eps or v? Where no file says so, its own denoising tells.

A training checkpoint and a single file come without a scheduler, and SD 2.1 (v) and SD 2.1-base (eps) have the same
names and shapes. Read as the other kind, a network's answer is no estimate of the noise, and a contrast of two models
says nothing about what they were trained on.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..method.models import Prediction
from .bind import Bound
from .codec import VaeCodec

WORDS: dict[Prediction, str] = {"eps": "the noise (epsilon)", "v": "v (v_prediction)"}
# sigma / alpha of the rows where the readings lie furthest apart. With more noise eps is nearly x_t itself and v the
# clean picture, which nobody can guess; with less, the other way about.
NOISE = (1.25, 1.75)
PICTURES = 3
# Measured on a small latent model and two fine-tunes: read right, eps loses 0.05 to 0.07 and v 0.12 to 0.18; read
# wrong, 16 to 23 and 6 to 9 times as much. A network that has learnt nothing loses 1 or more under both readings.
LEARNT, CLEARLY = 0.5, 2.0


@torch.no_grad()
def measure_prediction(bound: Bound, images: Float[Tensor, "b 3 H W"]) -> dict[Prediction, float]:
    """The denoising loss of `bound` on `images` in [0, 1], its answer read as eps and as v.

    Each is the squared error over the squared size of what should have been answered, over all images at two rows of
    the schedule with fixed noise: 0 is perfect, 1 is what an answer of zeros loses.
    """
    weight, schedule = next(bound.network.parameters()), bound.schedule
    generator = torch.Generator().manual_seed(0)
    wrong: dict[Prediction, float] = {"eps": 0.0, "v": 0.0}
    whole: dict[Prediction, float] = {"eps": 0.0, "v": 0.0}
    for z in _latents(bound, images.to(bound.device, torch.float32)):
        for ratio in NOISE:
            row = (schedule.sigma - ratio * schedule.alpha).abs().argmin()[None]
            alpha, sigma = schedule.alpha[row].to(z), schedule.sigma[row].to(z)
            eps = torch.randn(z.shape, generator=generator).to(z)
            x_t = schedule.add_noise(z, eps, row.to(z.device))
            timestep = schedule.timesteps.to(z.device)[row.to(z.device)]
            answer = bound.call(x_t.to(weight.dtype), timestep)[:, : z.shape[1]].to(z)
            targets: dict[Prediction, Tensor] = {"eps": eps, "v": alpha * eps - sigma * z}
            for kind, target in targets.items():
                wrong[kind] += (answer - target).square().sum().item()
                whole[kind] += target.square().sum().item()
    return {kind: wrong[kind] / whole[kind] for kind in wrong}


def settle_prediction(bound: Bound) -> Prediction | None:
    """What the network predicts by its own denoising of a few fixed pictures; None where that cannot be told.

    That is so for a network that has learnt nothing, and beyond the question for pixels and for flow.
    """
    if bound.prediction == "flow" or not isinstance(bound.codec, VaeCodec):
        return None
    losses = measure_prediction(bound, simple_pictures(bound.side))
    pairs: tuple[tuple[Prediction, Prediction], ...] = (("eps", "v"), ("v", "eps"))
    for kind, other in pairs:
        if losses[kind] <= LEARNT and losses[other] >= CLEARLY * losses[kind]:  # neither holds for NaN
            return kind
    return None


def check_prediction(base: Bound, suspect: Bound, name: str) -> None:
    """Both must predict the same, and the suspect what it is read as. Compare their shapes before.

    Raises:
        UserError: if the suspect called `name` predicts v and its base eps, or the other way about.
    """
    found = settle_prediction(suspect) or suspect.prediction
    if found != base.prediction:
        raise UserError(
            f"{name} predicts {WORDS[found]} and the base {WORDS[base.prediction]}, so it was made from another base "
            "(SD 2.1 predicts v, SD 2.1-base the noise); accepted: a model fine-tuned from this base"
        )
    _check_reading(found, suspect, name)


def check_reading(bound: Bound, name: str) -> None:
    """The network must predict what its scheduler says, where its answers tell.

    Raises:
        UserError: if the network called `name` predicts the other.
    """
    _check_reading(settle_prediction(bound) or bound.prediction, bound, name)


def _check_reading(found: Prediction, bound: Bound, name: str) -> None:
    if found != bound.prediction:
        raise UserError(
            f"{name} predicts {WORDS[found]}, but its scheduler says {WORDS[bound.prediction]}; "
            "accepted: a model with the scheduler that it was trained with"
        )


def simple_pictures(side: int) -> Float[Tensor, "b 3 H W"]:
    """Gradients between strong colours, a soft disc on some: what any model denoises well, so that the readings differ.

    Strong, since v and eps differ by the clean picture.
    """
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    corners = torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
    pictures = []
    for i in range(PICTURES):
        colours = torch.randint(2, (5, 3), generator=generator).float()
        picture = torch.einsum("khw,kc->chw", corners, colours[:4])
        if i % 2:
            disc = torch.sigmoid(15 * (0.2 - ((x - 0.4) ** 2 + (y - 0.6) ** 2).sqrt()))
            picture = picture + disc * (colours[4, :, None, None] - picture)
        pictures.append(picture)
    return torch.stack(pictures).clamp(0, 1)


def _latents(bound: Bound, images: Tensor) -> Sequence[Float[Tensor, "1 c h w"]]:
    """For one by one, which is enough memory for any model, and without drawing from the posterior."""
    codec = copy.copy(bound.codec)
    if isinstance(codec, VaeCodec):
        codec.encoding = "mode"
    return codec.encode(images).split(1)
