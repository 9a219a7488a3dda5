"""Scores of one picture: higher always means more likely a member.

`removed_cosine`, `removed_gain` and `removed_alignment` judge the recovery on the removed cells alone: the kept half
is pasted from the original and lifts members and holdouts alike. `loss_contrast` needs no recovery.
"""

from collections.abc import Sequence
from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .models import EpsModel, ModelPair
from .objective import denoising_loss
from .partial import Partial
from .sampling import sample_noise, sample_times
from .schedule import Schedule


def removed_cosine(
    z_hat: Float[Tensor, "b c h w"], z: Float[Tensor, "b c h w"], partial: Partial
) -> Float[Tensor, " b"]:
    """Cosine between recovered and true latent on the removed cells.

    Confounded by the picture: the start alone already scores, for some pictures more than for others, so that an
    innocent model can seem to separate two sets of pictures. Not for verdicts.
    """
    return _cosine(z_hat, z, partial)


def removed_gain(z_hat: Float[Tensor, "b c h w"], z: Float[Tensor, "b c h w"], partial: Partial) -> Float[Tensor, " b"]:
    """`removed_cosine` of the recovery minus `removed_cosine` of the start: what the suspect added."""
    return _cosine(z_hat, z, partial) - _cosine(partial.start, z, partial)


def removed_alignment(
    z_hat: Float[Tensor, "b c h w"], z: Float[Tensor, "b c h w"], partial: Partial
) -> Float[Tensor, " b"]:
    """cos(z_hat - z_start, z - z_start) on the removed cells: did the movement go where the picture lies?

    Zero in expectation for a movement that knows nothing of the picture, whatever the picture; zero if nothing
    moved.
    """
    return _cosine(z_hat - partial.start, z - partial.start, partial)


def loss_contrast(
    pair: ModelPair, z: Float[Tensor, "b c h w"], draws: int, generators: Sequence[torch.Generator]
) -> Float[Tensor, " b"]:
    """Eq. 7 at the picture itself, without optimisation, as a share of the base's denoising loss.

    Mean over `draws` samples of t, stratified over the whole schedule, each with its own noise, the same in both
    models. The share makes pictures of different difficulty comparable.

    A network is given at most `pair.rows_per_call()` rows at a time, of any picture and draw, and noise is drawn for so
    many pictures at a time: memory does not grow with the pictures.
    """
    rows, shares = pair.rows_per_call(), []
    for first in range(0, len(z), rows):
        group = slice(first, first + rows)
        t = sample_times(generators[group], draws, 1, len(pair.schedule) - 1, "stratified").to(z.device)
        eps = sample_noise(generators[group], draws, z[group])
        base, tuned = (_losses(m, pair.schedule, z[group], t, eps, rows) for m in (pair.base, pair.finetuned))
        shares.append((base - tuned) / base)
    return torch.cat(shares)


@torch.no_grad()
def _losses(
    model: EpsModel,
    schedule: Schedule,
    z: Float[Tensor, "b c h w"],
    t: Int[Tensor, "b n"],
    eps: Float[Tensor, "b n c h w"],
    rows_per_call: int,
) -> Float[Tensor, " b"]:
    """Each picture's denoising losses, summed over its draws, in calls of about the same size."""
    pictures, draws = t.shape
    calls = ceil(pictures * draws / rows_per_call)
    rows = torch.arange(pictures * draws, device=z.device)
    losses = [
        denoising_loss(model, schedule, z[part // draws], t.flatten()[part], eps.flatten(0, 1)[part])
        for part in rows.tensor_split(calls)
    ]
    return torch.cat(losses).unflatten(0, (pictures, draws)).sum(1)


def _cosine(a: Tensor, b: Tensor, partial: Partial) -> Float[Tensor, " b"]:
    removed = 1 - partial.mask
    return F.cosine_similarity((removed * a).flatten(1), (removed * b).flatten(1))
