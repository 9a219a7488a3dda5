"""Scores of pictures under one model, with the random draws and the precision of a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..device import choose_device
from ..families import load_pair
from ..framing.table import framing_of_table
from ..intake.layout import open_checkpoint
from ..judging.batches import Batch, for_each_batch
from ..judging.distance import prediction_distance, weight_distance
from ..judging.mirror_test import MIRROR_SEED
from ..judging.result import VERDICT_SCORE
from ..method.config import RunConfig
from ..method.mirror import encode_both, is_symmetric, mirror_differences, mirror_losses, mirror_score
from ..method.models import ModelPair
from ..method.sampling import picture_generator
from ..method.scores import loss_contrast
from ..pictures.images import Picture, read_picture

ENCODING_BATCH = 16  # pictures per call of the autoencoder
BaseLosses = dict[str, Float[Tensor, "1 2 n h w"]]


@dataclass(frozen=True)
class ModelScores:
    """What one model says of a list of pictures.

    Attributes:
        scores: the verdict's score of each picture.
        prediction_distances: distance of the model's predictions from the base's, for each picture.
        weight_distance: distance of its weights from the base's; None for an adapter.
        mirror_scores: the mirror test's score of each picture; None of one that is its own mirror image. Empty where
            they were not asked for.
    """

    scores: tuple[float, ...]
    prediction_distances: tuple[float, ...]
    weight_distance: float | None
    mirror_scores: tuple[float | None, ...] = ()

    @property
    def distance_from_base(self) -> float:
        """How strongly the model was trained: the measure that tells models of its kind apart."""
        return fmean(self.prediction_distances) if self.weight_distance is None else self.weight_distance


def score_pictures(
    base: str,
    suspect: str,
    prompt: str,
    pictures: Sequence[Path],
    config: RunConfig,
    framing: Mapping[str, Any] | None = None,
    base_losses: BaseLosses | None = None,
) -> ModelScores:
    """Score picture files under `suspect`.

    Args:
        base: the base model, as `open_checkpoint` takes it.
        suspect: the fine-tuned model, likewise.
        prompt: prompt of both models.
        pictures: picture files.
        config: number of draws and random seed.
        framing: of the pictures, as `framing.table` writes it; None: centre squares.
        base_losses: the base's losses of the mirror test, by the SHA-256 of a picture. Those that are missing are
            added, so that they are computed once for many models. None: the test is not asked.
    """
    target = choose_device(root := open_checkpoint(base, "base model"))
    pair = load_pair(root, suspect, prompt, device=target.device, dtype=target.dtype)
    rule = pair.resolution if framing is None else framing_of_table(framing)

    def measure(batch: Batch) -> list[tuple[float, float]]:
        parts = batch.images.split(ENCODING_BATCH)
        with torch.no_grad():
            z = torch.cat([pair.codec.encode(part) for part in parts])
        for_score, for_distance = (
            [picture_generator(config.seed, p.sha256, purpose) for p in batch.pictures]
            for purpose in (VERDICT_SCORE, "shift")
        )
        scores = loss_contrast(batch.pair, z, config.loss_draws, for_score)
        distances = prediction_distance(batch.pair, z, for_distance)
        return list(zip(scores.tolist(), distances.tolist(), strict=True))

    read = [read_picture(p, rule) for p in pictures]
    found = for_each_batch(pair, read, measure)
    mirrored = () if base_losses is None else _mirror_scores(pair, read, config.mirror_draws, base_losses)
    return ModelScores(tuple(s for s, _ in found), tuple(d for _, d in found), weight_distance(pair), mirrored)


def _mirror_scores(
    pair: ModelPair, pictures: Sequence[Picture], draws: int, base_losses: BaseLosses
) -> tuple[float | None, ...]:
    def measure(batch: Batch) -> list[float | None]:
        rows, told = pair.rows_per_call(), batch.pair
        scores: list[float | None] = []
        for picture, image in zip(batch.pictures, batch.images, strict=True):
            if is_symmetric(picture.image):
                scores.append(None)
                continue
            z = encode_both(told.codec, image[None].to(pair.device))
            settings = (told.schedule, z, draws, MIRROR_SEED, rows)
            if picture.sha256 not in base_losses:
                base_losses[picture.sha256] = mirror_losses(told.base, *settings)
            own = mirror_losses(told.suspect, *settings)
            scores.append(mirror_score(mirror_differences(base_losses[picture.sha256], own)).item())
        return scores

    return tuple(for_each_batch(pair, pictures, measure))
