"""Scores of pictures under one model, with the random draws and the precision of a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from ..device import choose_device
from ..families import load_pair
from ..intake.layout import open_checkpoint
from ..judging.distance import prediction_distance, weight_distance
from ..judging.result import VERDICT_SCORE
from ..method.config import RunConfig
from ..method.sampling import picture_generator
from ..method.scores import loss_contrast
from ..pictures.images import read_picture

ENCODING_BATCH = 16  # pictures per call of the autoencoder


@dataclass(frozen=True)
class ModelScores:
    """What one model says of a list of pictures.

    Attributes:
        scores: the verdict's score of each picture.
        prediction_distances: distance of the model's predictions from the base's, for each picture.
        weight_distance: distance of its weights from the base's; None for an adapter.
    """

    scores: tuple[float, ...]
    prediction_distances: tuple[float, ...]
    weight_distance: float | None

    @property
    def distance_from_base(self) -> float:
        """How strongly the model was trained: the measure that tells models of its kind apart."""
        return fmean(self.prediction_distances) if self.weight_distance is None else self.weight_distance


def score_pictures(base: str, suspect: str, prompt: str, pictures: Sequence[Path], config: RunConfig) -> ModelScores:
    """Score picture files under `suspect`.

    Args:
        base: the base model, as `open_checkpoint` takes it.
        suspect: the fine-tuned model, likewise.
        prompt: prompt of both models.
        pictures: picture files.
        config: number of draws and random seed.
    """
    target = choose_device(root := open_checkpoint(base, "base model"))
    pair = load_pair(root, suspect, prompt, device=target.device, dtype=target.dtype)
    read = [read_picture(p, pair.resolution) for p in pictures]
    parts = [read[i : i + ENCODING_BATCH] for i in range(0, len(read), ENCODING_BATCH)]
    with torch.no_grad():
        z = torch.cat([pair.codec.encode(torch.stack([p.image for p in part]).to(pair.device)) for part in parts])

    def generators(purpose: str) -> list[torch.Generator]:
        return [picture_generator(config.seed, p.sha256, purpose) for p in read]

    scores = loss_contrast(pair, z, config.loss_draws, generators(VERDICT_SCORE))
    distances = prediction_distance(pair, z, generators("shift"))
    return ModelScores(tuple(scores.tolist()), tuple(distances.tolist()), weight_distance(pair))
