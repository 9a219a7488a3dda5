"""The scores of pictures under a pair of models. What is compared with controls meets the same draws as they do."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..method.config import RunConfig
from ..method.mirror import MirrorScore, mirror_scores
from ..method.models import ModelPair
from ..method.run_state import DecodedRecovery, RunState
from ..method.sampling import picture_generator, shared_generators
from ..method.scores import loss_contrast, removed_alignment, removed_cosine, removed_gain
from ..method.views import AS_GIVEN, CENTRE_SQUARE, VIEWS
from ..pictures.embedders import Embedders, similarity
from ..pictures.images import Picture
from .batches import Batch, for_each_batch
from .distance import prediction_distance
from .mirror_test import MIRROR_SEED
from .result import VERDICT_SCORE


def score_controls(pair: ModelPair, controls: Sequence[Picture], config: RunConfig) -> tuple[float, ...]:
    """Score each control picture as the pictures are scored: the verdict's score needs no recovery."""
    if not controls:
        return ()
    return tuple(score_views(pair, controls, config).amax(0).tolist())


def score_mirror(
    pair: ModelPair, pictures: Sequence[Picture], config: RunConfig, view: str = AS_GIVEN
) -> list[MirrorScore]:
    """Score pictures by the mirror test; no recovery is needed."""

    def measure(batch: Batch) -> list[MirrorScore]:
        told = pair if view == CENTRE_SQUARE else batch.pair  # a square is a whole picture to the network
        images = torch.stack([see(p, view) for p in batch.pictures])
        return mirror_scores(told, images, config.mirror_draws, MIRROR_SEED)

    return for_each_batch(pair, pictures, measure)


def see(picture: Picture, view: str) -> Float[Tensor, "3 _ _"]:
    """A picture in one view; the centre square is that of its file."""
    if view == CENTRE_SQUARE:
        return picture.image if picture.square is None else picture.square
    return VIEWS[view](picture.image)


def score_views(
    pair: ModelPair, pictures: Sequence[Picture], config: RunConfig, z: Sequence[Float[Tensor, "c _ _"]] | None = None
) -> Float[Tensor, "v b"]:
    """Return `loss_contrast` of each picture in each of `config.views`; a picture's largest is the verdict's score.

    Pictures and controls are searched over the same views. The largest of them is a score like any other, so the
    conformal p-value stays exact. A search costs power instead, since controls have as many tries.

    Each view has draws of its own: its scores do not depend on the other views.

    Args:
        pair: base and suspect.
        pictures: suspected pictures or controls.
        config: views, number of draws, seed.
        z: latents of the pictures as given, where they are known.
    """

    def score(batch: Batch, view: str, known: Float[Tensor, "b c h w"] | None) -> Float[Tensor, " b"]:
        told = pair if view == CENTRE_SQUARE else batch.pair  # a square is a whole picture to the network
        return _score_view(told, batch.pictures, view, config, known)

    def measure(batch: Batch) -> Sequence[Float[Tensor, " v"]]:
        known = None if z is None else torch.stack([z[i] for i in batch.indices]).to(pair.device)
        return torch.stack([score(batch, view, known) for view in config.views], dim=1).unbind(0)

    return torch.stack(for_each_batch(pair, pictures, measure), dim=1)


def _score_view(
    pair: ModelPair,
    pictures: Sequence[Picture],
    view: str,
    config: RunConfig,
    z: Float[Tensor, "b c h w"] | None,
) -> Float[Tensor, " b"]:
    purpose = VERDICT_SCORE if view == AS_GIVEN else f"{VERDICT_SCORE}, {view}"
    if z is None or view != AS_GIVEN:
        z = pair.codec.encode(torch.stack([see(p, view) for p in pictures]).to(pair.device))
    return loss_contrast(pair, z, config.loss_draws, score_generators(pair, pictures, config, purpose))


def score_recovery(
    images: Float[Tensor, "b 3 H W"], state: RunState, decoded: DecodedRecovery, embedders: Embedders
) -> dict[str, Float[Tensor, " b"]]:
    """Return the scores of what was recovered of one batch; no verdict rests on them.

    Args:
        images: the pictures.
        state: of their recovery.
        decoded: what it shows.
        embedders: compare what was recovered with the picture.
    """
    own, mirrored = state.pictures, state.mirrored
    z, z_hat, partial = own.z, own.z_hat, own.partial
    beside = {}
    if mirrored is not None:
        of_mirror = removed_alignment(mirrored.z_hat, mirrored.z, mirrored.partial)
        beside["alignment_difference"] = removed_alignment(z_hat, z, partial) - of_mirror
    return {
        "removed_cosine": removed_cosine(z_hat, z, partial),
        "removed_gain": removed_gain(z_hat, z, partial),
        "removed_alignment": removed_alignment(z_hat, z, partial),
        **beside,
        **{name: similarity(embedder, images.cpu(), decoded.recovered) for name, embedder in embedders.ready.items()},
    }


def measure_distance(
    pair: ModelPair, pictures: Sequence[Picture], z: Sequence[Float[Tensor, "c _ _"]], config: RunConfig
) -> list[float]:
    """Return how far the suspect's predictions are from its base's on each picture; the same before a run and after.

    Args:
        pair: base and suspect.
        pictures: to draw noise for, each from its own bytes: the mean over pictures is then over many draws.
        z: latents of the pictures.
        config: its seed is used.
    """

    def measure(batch: Batch) -> list[float]:
        latents = torch.stack([z[i] for i in batch.indices]).to(pair.device)
        generators = picture_generators(batch.pictures, config, "shift")
        return prediction_distance(batch.pair, latents, generators).tolist()

    return for_each_batch(pair, pictures, measure)


def score_generators(
    pair: ModelPair, pictures: Sequence[Picture], config: RunConfig, purpose: str
) -> list[torch.Generator]:
    """One generator a picture, for a score that is compared with that of controls or of null models."""
    if config.score_noise == "own":
        return picture_generators(pictures, config, purpose)
    return shared_generators(len(pictures), pair.weights_sha256, purpose)


def picture_generators(pictures: Sequence[Picture], config: RunConfig, purpose: str) -> list[torch.Generator]:
    """One generator a picture, from the seed, the picture's bytes and what is drawn for."""
    return [picture_generator(config.seed, p.sha256, purpose) for p in pictures]
