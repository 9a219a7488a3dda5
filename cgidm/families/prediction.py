"""Infer whether a network predicts eps or v from its own denoising, where no file says so.

A training checkpoint and a single file come without a scheduler, and SD 2.1 (v) and SD 2.1-base (eps) have the same
names and shapes. A network that is read as the other kind gives no estimate of the noise. The contrast of two models
then says nothing about their training data.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..intake.remarks import StatedPrediction
from ..messages import Note, note
from ..method.models import Prediction
from .codec import VaeCodec
from .conditioning import ConditionedNetwork

# sigma / alpha of the rows where eps and v are easiest to tell apart. With more noise, eps is nearly x_t itself and v
# the clean picture, which no model can guess; with less noise it is the reverse.
NOISE = (1.25, 1.75)
PICTURES = 3
# Measured on a small latent model and two fine-tunes. The right reading has a relative loss of 0.05 to 0.07 (eps) and
# 0.12 to 0.18 (v); the wrong one has 16 to 23 and 6 to 9 times as much. An untrained network has 1 or more under both.
LEARNT, CLEARLY = 0.5, 2.0


@torch.no_grad()
def measure_prediction(model: ConditionedNetwork, images: Float[Tensor, "b 3 H W"]) -> dict[Prediction, float]:
    """Compute the relative denoising loss on `images` in [0, 1], reading the prediction as eps and as v.

    Each is the squared error over the squared size of what should have been answered, over all images at two rows of
    the schedule with fixed noise: 0 is perfect, 1 is what an answer of zeros loses.
    """
    weight, schedule = next(model.network.parameters()), model.schedule
    generator = torch.Generator().manual_seed(0)
    wrong: dict[Prediction, float] = {"eps": 0.0, "v": 0.0}
    total: dict[Prediction, float] = {"eps": 0.0, "v": 0.0}
    for z in _latents(model, images.to(model.device, torch.float32)):
        for ratio in NOISE:
            row = (schedule.sigma - ratio * schedule.alpha).abs().argmin()[None]
            alpha, sigma = schedule.alpha[row].to(z), schedule.sigma[row].to(z)
            eps = torch.randn(z.shape, generator=generator).to(z)
            x_t = schedule.add_noise(z, eps, row.to(z.device))
            timestep = schedule.timesteps.to(z.device)[row.to(z.device)]
            answer = model.predict(x_t.to(weight.dtype), timestep)[:, : z.shape[1]].to(z)
            targets: dict[Prediction, Tensor] = {"eps": eps, "v": alpha * eps - sigma * z}
            for kind, target in targets.items():
                wrong[kind] += (answer - target).square().sum().item()
                total[kind] += target.square().sum().item()
    return {kind: wrong[kind] / total[kind] for kind in wrong}


def infer_prediction(model: ConditionedNetwork) -> Prediction | None:
    """Infer what the network predicts from its denoising of a few fixed pictures.

    Returns:
        None where it cannot be inferred: for an untrained network, a pixel model, and rectified flow.
    """
    if model.prediction == "flow" or not isinstance(model.codec, VaeCodec):
        return None
    losses = measure_prediction(model, simple_pictures(model.resolution))
    pairs: tuple[tuple[Prediction, Prediction], ...] = (("eps", "v"), ("v", "eps"))
    for kind, other in pairs:
        if losses[kind] <= LEARNT and losses[other] >= CLEARLY * losses[kind]:  # neither holds for NaN
            return kind
    return None


def check_prediction(base: ConditionedNetwork, suspect: ConditionedNetwork, name: str) -> None:
    """Check that both models predict the same, and that the suspect's scheduler agrees. Check their shapes before.

    Raises:
        UserError: if the suspect called `name` predicts v and its base eps, or the reverse.
    """
    found = infer_prediction(suspect) or suspect.prediction
    if found != base.prediction:
        raise UserError("families.prediction_differs", name=name, given=_name(found), expected=_name(base.prediction))
    _check_scheduler(found, suspect, name)


def check_markers(stated: StatedPrediction | None, base: Prediction, name: str) -> None:
    """Check that the base predicts what the markers in a suspect's file state.

    Raises:
        UserError: if the suspect called `name` predicts v and its base the noise, or was trained with EDM's noise.
    """
    if stated in ("edm", "edm v"):
        raise UserError("families.edm_noise", name=name)
    if stated == "v" and base != "v":
        raise UserError("families.prediction_differs", name=name, given=_name("v"), expected=_name(base))


def check_scheduler(model: ConditionedNetwork, name: str) -> None:
    """Check that the network predicts what its scheduler says, where that can be inferred.

    Raises:
        UserError: if the network called `name` predicts the other kind.
    """
    _check_scheduler(infer_prediction(model) or model.prediction, model, name)


def _check_scheduler(found: Prediction, model: ConditionedNetwork, name: str) -> None:
    if found != model.prediction:
        raise UserError("families.scheduler_differs", name=name, given=_name(found), scheduler=_name(model.prediction))


def _name(prediction: Prediction) -> Note:
    return note(f"families.predicts_{prediction}")


def simple_pictures(resolution: int) -> Float[Tensor, "b 3 H W"]:
    """Make gradients between strong colours, some with a soft disc: pictures that any trained model denoises well.

    The colours are strong because v and eps differ by the clean picture.
    """
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, resolution), torch.linspace(0, 1, resolution), indexing="ij")
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


def _latents(model: ConditionedNetwork, images: Tensor) -> Sequence[Float[Tensor, "1 c h w"]]:
    """Encode one by one, which bounds memory, and without drawing from the posterior."""
    codec = replace(model.codec, encoding="mode") if isinstance(model.codec, VaeCodec) else model.codec
    return codec.encode(images).split(1)
