"""Scores of an artist's pictures under two LoRAs, one trained with captions and one without, by the prompt of the run.

A caption is a trigger and what the pixels say, in the words that the base was trained with. Each artist has one file; a
file that exists is not made again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cgidm.families.adapters import apply_adapter, share_weights
from cgidm.families.conditioning import ConditionedNetwork, condition_on_prompts
from cgidm.families.pipelines import load_pipeline
from cgidm.intake.layout import open_checkpoint
from cgidm.judging.mirror_test import MIRROR_SEED
from cgidm.method.config import RunConfig
from cgidm.method.mirror import encode_both, mirror_differences, mirror_losses, mirror_score
from cgidm.method.models import NetworkEpsModel
from cgidm.pictures.images import read_picture
from eval.asset_recipes.picture_words import describe_picture
from eval.benchmark.flow_lora import FlowRecipe, train_flow_lora
from eval.error_rates.mirror_scores import MirrorScores

TRIGGER, OTHER_TRIGGER = "sks style", "zwx art"
LIST = (TRIGGER, "a painting", OTHER_TRIGGER, "")  # four that a user may try, one of them right
TRAININGS = ("captions", "trigger")
LABELS = ("own caption", "trigger", "words", "blank", "wrong", "list of four")
RESOLUTION, ROWS_PER_CALL = 128, 16


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture, the words that its pixels give, and those of another artist's picture."""

    path: Path
    file: str
    member: int
    description: str
    other_description: str

    @property
    def caption(self) -> str:
        """What it is trained with, if captions are."""
        return f"{TRIGGER}, {self.description}"

    def prompts(self, label: str) -> tuple[str, ...]:
        """The prompts of a run."""
        found: Mapping[str, tuple[str, ...]] = {
            "own caption": (self.caption,),
            "trigger": (TRIGGER,),
            "words": (self.description,),
            "blank": ("",),
            "wrong": (f"{OTHER_TRIGGER}, {self.other_description}",),
            "list of four": LIST,
        }
        return found[label]


@dataclass(frozen=True, kw_only=True)
class PromptScores:
    """The scores of an artist's pictures under one suspect. Its fields are the keys of the file.

    Attributes:
        dataset: name of the dataset.
        artist: folder of the pictures.
        half: the half that the suspect was trained on.
        training: one of `TRAININGS`.
        presentations: of each picture, in training.
        files: the pictures.
        member: 1 for each that the suspect was trained on, else 0.
        mirror: score of the mirror test, by the prompt that is asked with.
        contrast: Eq. 7 as a share of the base's loss, at the mirror test's draws.
    """

    dataset: str
    artist: str
    half: int
    training: str
    presentations: int
    files: tuple[str, ...]
    member: tuple[int, ...]
    mirror: dict[str, tuple[float, ...]]
    contrast: dict[str, tuple[float, ...]]

    def as_scored(self, scores: Sequence[float]) -> MirrorScores:
        """What rates are counted from."""
        more = {"dataset": self.dataset, "concept": self.artist, "half": self.half, "training": self.training}
        return MirrorScores(**more, files=self.files, member=self.member, scores=tuple(scores))


def picture_words(path: Path, resolution: int) -> str:
    """What the centre square's pixels say, as the base's captions say it."""
    image = (read_picture(path, resolution).image * 255).round().byte()
    return ", ".join(describe_picture(image.permute(1, 2, 0).numpy()))


def train_suspects(base: Path, pictures: Sequence[CaptionedPicture], work: Path, presentations: int) -> list[Path]:
    """Train a LoRA for each of `TRAININGS` on the members, if it is not there."""
    used, folders = [p for p in pictures if p.member], [work / training for training in TRAININGS]
    for training, folder in zip(TRAININGS, folders, strict=True):
        if not folder.exists():
            recipe = FlowRecipe(presentations=presentations, prompt=TRIGGER)
            captions = [p.caption for p in used] if training == "captions" else []
            train_flow_lora(base, [p.path for p in used], folder, recipe, captions)
    return folders


class PromptedModels:
    """A base and suspects of it on its weights: their losses under any prompts, without loading anything again."""

    def __init__(self, base: Path, suspects: Sequence[Path]) -> None:
        self.pipeline = load_pipeline(open_checkpoint(str(base), "base model"), "base", torch.float32)
        root = self.pipeline.transformer
        self.networks = [root]
        for folder in suspects:
            self.pipeline.transformer = share_weights(root)
            apply_adapter(self.pipeline, open_checkpoint(str(folder), "fine-tuned model"))
            self.networks.append(self.pipeline.transformer)
        self.pipeline.transformer = root
        for part in (self.pipeline.vae, *self.networks):
            part.eval().requires_grad_(False)

    @torch.no_grad()
    def losses(self, path: Path, prompts: Sequence[str], draws: int) -> list[Float[Tensor, "1 2 n h w"]]:
        """`mirror_losses` of base and suspects on one picture."""
        conditioned = condition_on_prompts(self.pipeline, prompts)
        image = read_picture(path, conditioned.resolution).image
        z = encode_both(conditioned.codec, image[None])
        models = [_model(replace(conditioned, network=network)) for network in self.networks]
        return [mirror_losses(m, conditioned.schedule, z, draws, MIRROR_SEED, ROWS_PER_CALL) for m in models]


def _model(conditioned: ConditionedNetwork) -> NetworkEpsModel:
    return NetworkEpsModel(conditioned.predict, conditioned.schedule, conditioned.prediction, torch.float32)


def score_prompts(
    models: PromptedModels, pictures: Sequence[CaptionedPicture], labels: Sequence[str] = LABELS
) -> Iterator[tuple[dict[str, tuple[float, ...]], dict[str, tuple[float, ...]]]]:
    """Yield for each suspect the scores of the mirror test and the contrasts of all pictures, by label."""
    found: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {}) for _ in models.networks[1:]]
    for label in labels:
        for picture in pictures:
            base, *suspects = models.losses(picture.path, picture.prompts(label), RunConfig().mirror_draws)
            for (mirror, contrast), suspect in zip(found, suspects, strict=True):
                score = mirror_score(mirror_differences(base, suspect)).item()
                mirror[label] = (*mirror.get(label, ()), score)
                contrast[label] = (*contrast.get(label, ()), contrast_share(base, suspect))
    yield from found


def contrast_share(base: Float[Tensor, "1 2 n h w"], suspect: Float[Tensor, "1 2 n h w"]) -> float:
    """Eq. 7 of the picture itself, as a share of the base's loss."""
    own, of_suspect = base[:, 0].sum(), suspect[:, 0].sum()
    return ((own - of_suspect) / own).item()
