"""Scores of one picture: higher always means more likely a member.

`removed_cosine`, `removed_gain` and `removed_alignment` judge the recovery on the removed cells alone: the kept half
is pasted from the original and lifts members and holdouts alike. `loss_contrast` needs no recovery.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .models import ModelPair
from .objective import denoising_loss
from .partial import Partial
from .sampling import sample_noise, sample_times


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
    """
    t = sample_times(generators, draws, 1, len(pair.schedule) - 1, "stratified").to(z.device)
    eps = sample_noise(generators, draws, z)
    with torch.no_grad():
        base, tuned = (
            torch.stack([denoising_loss(m, pair.schedule, z, t[:, i], eps[:, i]) for i in range(draws)]).sum(0)
            for m in (pair.base, pair.finetuned)
        )
    return (base - tuned) / base


def _cosine(a: Tensor, b: Tensor, partial: Partial) -> Float[Tensor, " b"]:
    removed = 1 - partial.mask
    return F.cosine_similarity((removed * a).flatten(1), (removed * b).flatten(1))
