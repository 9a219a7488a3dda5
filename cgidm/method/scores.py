"""Scores of one picture: higher always means more likely a member.

`removed_cosine`, `removed_gain` and `removed_alignment` judge the recovery on the removed cells alone: the kept half
is pasted from the original and lifts members and holdouts alike. `loss_contrast` needs no recovery.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .loss_pair import Samples, both_terms
from .models import ModelPair
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

    At most `pair.rows_per_call()` rows, of any picture and draw, are in work at a moment, and noise is drawn for so
    many pictures at a time: memory does not grow with the pictures.
    """
    rows, shares = pair.rows_per_call(), []
    for first in range(0, len(z), rows):
        group = slice(first, first + rows)
        t = sample_times(generators[group], draws, 1, len(pair.schedule) - 1, "stratified").to(z.device)
        eps = sample_noise(generators[group], draws, z[group])
        z_rows, eps_rows = z[group].repeat_interleave(draws, dim=0), eps.flatten(0, 1)
        terms = both_terms(pair, Samples(z_rows, t.flatten(), eps_rows, eps_rows), rows, gradient=False)
        base, tuned = (term.loss.unflatten(0, t.shape).sum(1) for term in terms)
        shares.append((base - tuned) / base)
    return torch.cat(shares)


def _cosine(a: Tensor, b: Tensor, partial: Partial) -> Float[Tensor, " b"]:
    removed = 1 - partial.mask
    return F.cosine_similarity((removed * a).flatten(1), (removed * b).flatten(1))
