"""Scores of one picture: higher always means more likely a member.

`removed_cosine`, `removed_gain` and `removed_alignment` score the recovery on the removed cells alone. The kept half
is pasted from the original and would raise the scores of members and holdouts alike. `loss_contrast` needs no recovery.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .loss_pair import Samples, loss_pair
from .models import ModelPair
from .partial import Partial
from .sampling import sample_noise, sample_times


def removed_cosine(
    z_hat: Float[Tensor, "b c h w"], z: Float[Tensor, "b c h w"], partial: Partial
) -> Float[Tensor, " b"]:
    """Compute the cosine between recovered and true latent on the removed cells.

    It is confounded by the picture: the start alone already scores, for some pictures more than for others. A model
    that was trained on neither of two sets of pictures can seem to separate them. Do not use it for verdicts.
    """
    return _cosine(z_hat, z, partial)


def removed_gain(z_hat: Float[Tensor, "b c h w"], z: Float[Tensor, "b c h w"], partial: Partial) -> Float[Tensor, " b"]:
    """Compute what the recovery added: `removed_cosine` of the recovery minus that of the start."""
    return _cosine(z_hat, z, partial) - _cosine(partial.start, z, partial)


def removed_alignment(
    z_hat: Float[Tensor, "b c h w"], z: Float[Tensor, "b c h w"], partial: Partial
) -> Float[Tensor, " b"]:
    """Compute cos(z_hat - z_start, z - z_start) on the removed cells: whether the recovery moved towards the picture.

    It is zero in expectation for a movement that is independent of the picture, and zero if nothing moved.
    """
    return _cosine(z_hat - partial.start, z - partial.start, partial)


def loss_contrast(
    pair: ModelPair, z: Float[Tensor, "b c h w"], draws: int, generators: Sequence[torch.Generator]
) -> Float[Tensor, " b"]:
    """Compute Eq. 7 at the picture itself, without optimisation, as a share of the base's denoising loss.

    The share makes pictures of different difficulty comparable. Both models get the same noise. Memory does not grow
    with the number of pictures: at most `pair.rows_per_call()` rows are in work at a time.

    Args:
        pair: the two models.
        z: the pictures' latents.
        draws: samples of (t, eps) per picture; t is stratified over the whole schedule.
        generators: one per picture.
    """
    rows, shares = pair.rows_per_call(), []
    for first in range(0, len(z), rows):
        group = slice(first, first + rows)
        t = sample_times(generators[group], draws, 1, len(pair.schedule) - 1, "stratified").to(z.device)
        eps = sample_noise(generators[group], draws, z[group])
        z_rows, eps_rows = z[group].repeat_interleave(draws, dim=0), eps.flatten(0, 1)
        both = loss_pair(pair, Samples(z_rows, t.flatten(), eps_rows, eps_rows), rows, gradient=False)
        base, suspect = (each.loss.unflatten(0, t.shape).sum(1) for each in both)
        shares.append((base - suspect) / base)
    return torch.cat(shares)


def _cosine(a: Tensor, b: Tensor, partial: Partial) -> Float[Tensor, " b"]:
    removed = 1 - partial.mask
    return F.cosine_similarity((removed * a).flatten(1), (removed * b).flatten(1))
