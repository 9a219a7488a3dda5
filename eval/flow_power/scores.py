"""What is measured of a suspect: the mirror test and the contrast on the same draws, and other methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.judging.mirror_test import MIRROR_SEED
from cgidm.method.config import RunConfig
from cgidm.method.mirror import encode_both, mirror_differences, mirror_losses, mirror_score
from cgidm.method.models import EpsModel, ModelPair
from cgidm.pictures.images import Picture
from eval.benchmark.methods import CGIDM, METHODS, Case, Method

DRAWS = RunConfig().mirror_draws  # of the mirror test: half of them stratified over t, half their mirror images
PARTS = 6  # of t
COMPARED: Mapping[str, Method] = {
    **{name: METHODS[name] for name in ("loss", "pia", "sima", "secmi", "clid", "pfami")},
    "cgidm": CGIDM(preset="fast"),
}  # the pipelines that generate a hundred pictures for each are left out: 10,000 evaluations a picture


@dataclass(frozen=True, eq=False)
class Tested:
    """Pictures, encoded, and what the base makes of them: the same for every suspect of an artist."""

    z: Float[Tensor, "b 2 c h w"]  # each with its mirror image
    losses: Float[Tensor, "b 2 n h w"]  # of the mirror test's draws


def prepare_pictures(pair: ModelPair, pictures: Sequence[Picture]) -> Tested:
    """Encode the pictures and compute the base's losses."""
    z = encode_both(pair.codec, torch.stack([p.image for p in pictures]))
    return Tested(z, _losses(pair, pair.base, z))


def score_tests(pair: ModelPair, tested: Tested) -> dict[str, Any]:
    """Score by the mirror test and by the contrast.

    Returns:
        "mirror" and "contrast": a score for each picture. "mirror by t" and "contrast by t": of the draws in each
        part of t, least noise first.
    """
    suspect = _losses(pair, pair.suspect, tested.z)
    both = {"mirror": mirror_of, "contrast": contrast_of}
    parts = torch.arange(DRAWS // 2).tensor_split(PARTS)  # a draw of t and its mirror image, half of the draws later
    draws = [torch.cat([rows, rows + DRAWS // 2]) for rows in parts]
    return {name: score(tested.losses, suspect).tolist() for name, score in both.items()} | {
        f"{name} by t": [score(tested.losses[:, :, rows], suspect[:, :, rows]).tolist() for rows in draws]
        for name, score in both.items()
    }


def mirror_of(base: Float[Tensor, "b 2 n h w"], suspect: Float[Tensor, "b 2 n h w"]) -> Float[Tensor, " b"]:
    """The mirror test's score."""
    return mirror_score(mirror_differences(base, suspect))


def contrast_of(base: Float[Tensor, "b 2 n h w"], suspect: Float[Tensor, "b 2 n h w"]) -> Float[Tensor, " b"]:
    """Eq. 7 of the picture as a share of the base's loss, as the verdict's score is."""
    own, of_suspect = (losses[:, 0].flatten(1).sum(1) for losses in (base, suspect))
    return (own - of_suspect) / own


def score_method(method: Method, pair: ModelPair, blank: ModelPair, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Score by one method: the scores of each measure, and what they cost."""
    images = torch.stack([p.image for p in pictures])
    with torch.no_grad():
        z = torch.cat([pair.codec.encode(image[None]) for image in images])
    digests, groups = tuple(p.sha256 for p in pictures), torch.zeros(len(images)).long()
    answers = method(Case(pair, lambda: blank, images, z, digests, groups))
    return {a.measure: {"evaluations": a.evaluations, "scores": a.scores.tolist()} for a in answers}


def _losses(pair: ModelPair, model: EpsModel, z: Float[Tensor, "b 2 c h w"]) -> Float[Tensor, "b 2 n h w"]:
    return mirror_losses(model, pair.schedule, z, DRAWS, MIRROR_SEED, pair.rows_per_call())
