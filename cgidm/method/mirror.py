"""The mirror test: does the suspect know a picture better than its mirror image?

Style, subject and difficulty raise the contrast of a picture and of its mirror image alike. A training without flips
showed the suspect one of the two. So the difference of their contrasts is about the picture itself: positive nearly
everywhere in a picture that was used, and of either sign in one that was not. It needs neither control pictures nor
null models, and forward passes only.

It sees nothing where the trainer mirrored pictures at random. A style can have a handedness (a signature, light from
the left), and the parts of a picture depend on each other. So its level is calibrated, not derived: see
`judging.mirror_test`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor

from .models import Codec, EpsModel, ModelPair
from .objective import predict, target
from .sampling import picture_generator, sample_noise, sample_times
from .schedule import Schedule

BLOCKS = 4  # per side. More blocks gain nothing once each draw has ranks of its own
ROUNDING = 1e-6  # of the base's loss: a smaller difference is none, and must not be ranked
LEAST_ASYMMETRY = 0.02  # exact symmetry, but for what scaling a file rounds; `is_symmetric`


def sample_mirrored(
    schedule: Schedule, like: Float[Tensor, "b c h w"], draws: int, seed: int
) -> tuple[Int[Tensor, " n"], Float[Tensor, "n c h w"]]:
    """Draw (t, eps) such that the mirror image of each sample is a sample, too.

    They depend on the seed and the latent's size, not on the picture. A picture and its mirror image then meet the same
    noise, which favours neither. A file that is saved anew meets it as well, so its score hardly changes.

    Args:
        schedule: t is stratified over the whole of it.
        like: latents.
        draws: number of samples, even.
        seed: of the run.
    """
    half, generators = draws // 2, [picture_generator(seed, "", "mirror")]
    t = sample_times(generators, half, 1, len(schedule) - 1, "stratified")[0].to(like.device)
    eps = sample_noise(generators, half, like[:1])[0]
    return torch.cat([t, t]), torch.cat([eps, eps.flip(-1)])


def is_symmetric(image: Float[Tensor, "3 H W"]) -> bool:
    """Tell whether a picture is its own mirror image, but for rounding: nothing can tell the two apart.

    Its mean difference from its mirror image is compared with that from its mean colour.
    """
    contrast = (image - image.mean((1, 2), keepdim=True)).abs().mean()
    return bool((image - image.flip(-1)).abs().mean() <= LEAST_ASYMMETRY * contrast)


@torch.no_grad()
def encode_both(codec: Codec, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 2 c h w"]:
    """Encode each picture in [0, 1] and its mirror image."""
    return torch.stack([codec.encode(torch.stack([image, image.flip(-1)])) for image in images])


@torch.no_grad()
def mirror_losses(
    model: EpsModel, schedule: Schedule, z: Float[Tensor, "b 2 c h w"], draws: int, seed: int, rows_per_call: int
) -> Float[Tensor, "b 2 n h w"]:
    """Compute the denoising loss (Eq. 3) of each cell, for each draw, of each picture and its mirror image.

    Those of a base are the same for every suspect that was made from it.

    Args:
        model: base or suspect.
        schedule: the noise schedule.
        z: latents of pictures and mirror images.
        draws: samples of (t, eps) for each orientation, even.
        seed: of the run.
        rows_per_call: largest batch given to the network.

    Returns:
        Losses, on the CPU; those of the mirror image are mirrored back and stand beside those of the same draw.
    """
    found = []
    for both in z:  # one picture at a time: a batch is full without the others, and no result depends on them
        t, eps = sample_mirrored(schedule, both, draws, seed)
        rows = both.repeat_interleave(draws, dim=0), t.repeat(2), eps.repeat(2, 1, 1, 1)
        calls = -(-2 * draws // rows_per_call)
        parts = zip(*(x.tensor_split(calls) for x in rows), strict=True)
        own, mirrored = torch.cat([_cell_losses(model, schedule, *part) for part in parts]).chunk(2)
        # the mirror image of draw i is draw i + draws / 2, and the other way round
        found.append(torch.stack([own, mirrored.roll(draws // 2, 0).flip(-1)]).cpu())
    return torch.stack(found)


def mirror_differences(
    base: Float[Tensor, "b 2 n h w"], suspect: Float[Tensor, "b 2 n h w"]
) -> Float[Tensor, "b n k k"]:
    """Compute Eq. 7 of each picture minus Eq. 7 of its mirror image, for each draw, in k x k blocks.

    Args:
        base: `mirror_losses` of the base.
        suspect: those of the suspect.

    Returns:
        Differences, in the picture's own orientation. Those of the mirror image are the same with the other sign,
        mirrored.
    """
    own, mirrored = (base - suspect).unbind(1)
    differences = F.adaptive_avg_pool2d(own - mirrored, BLOCKS)
    rounding = ROUNDING * base.mean((1, 3, 4))[..., None, None]
    return torch.where(differences.abs() > rounding, differences, 0.0)


class MirrorScore(NamedTuple):
    """The score of one picture.

    Attributes:
        value: the score itself.
        error: its Monte Carlo standard error: how much it would differ with other noise.
        contrast: Eq. 7, the mean over the picture and its mirror image. It does not tell the two apart, so it says
            nothing of the score's sign in a picture that was not used.
    """

    value: float
    error: float
    contrast: float = 0.0


def mirror_scores(pair: ModelPair, images: Float[Tensor, "b 3 H W"], draws: int, seed: int) -> list[MirrorScore]:
    """Compute the score of the mirror test for pictures in [0, 1]: 4 network evaluations a draw."""
    z, rows = encode_both(pair.codec, images.to(pair.device)), pair.rows_per_call()
    base, suspect = (mirror_losses(model, pair.schedule, z, draws, seed, rows) for model in (pair.base, pair.suspect))
    differences, contrast = mirror_differences(base, suspect), (base - suspect).mean((1, 2, 3, 4))
    columns = (mirror_score(differences), mirror_error(differences), contrast)
    return list(map(MirrorScore, *(column.tolist() for column in columns)))


def mirror_score(differences: Float[Tensor, "b n k k"]) -> Float[Tensor, " b"]:
    """Compute the mean over the draws of Wilcoxon's signed-rank statistic over the blocks.

    Ranks are taken for each draw, so that draws with much and with little noise count alike, and so that a few blocks,
    as those of a signature, do not decide.

    Returns:
        Scores; those of a picture and of its mirror image are x and -x. 0 for a picture that is its own mirror image.
    """
    return _draw_scores(differences).mean(-1).float()


def mirror_error(differences: Float[Tensor, "b n k k"]) -> Float[Tensor, " b"]:
    """Compute the standard error of `mirror_score` over the draws.

    A draw and its mirror image count as one. Their times are stratified, so the error is rather too large. With fewer
    than two such pairs it is not a number.
    """
    pairs = _draw_scores(differences).unflatten(-1, (2, -1)).mean(1)
    variance = (pairs - pairs.mean(-1, keepdim=True)).square().sum(-1) / (pairs.shape[-1] - 1 or float("nan"))
    return (variance / pairs.shape[-1]).sqrt().float()


def _draw_scores(differences: Float[Tensor, "b n k k"]) -> Float[Tensor, "b n"]:
    """Wilcoxon's statistic over the blocks, of each draw."""
    x = differences.double().flatten(2).numpy()
    ranks = rankdata(abs(x), axis=-1)
    signed, largest = (ranks * ((x > 0) * 1.0 - (x < 0))).sum(-1), (ranks**2).sum(-1) ** 0.5
    return torch.from_numpy(signed / largest)


def _cell_losses(
    model: EpsModel,
    schedule: Schedule,
    z: Float[Tensor, "n c h w"],
    t: Int[Tensor, " n"],
    eps: Float[Tensor, "n c h w"],
) -> Float[Tensor, "n h w"]:
    z_t = schedule.add_noise(z, eps, t)
    return (predict(model, schedule, z_t, t) - target(schedule, z, eps)).square().sum(1)
