"""A training recipe: how a model is fine-tuned, whatever pictures and prompt it is given."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pydantic import ConfigDict, field_validator
from pydantic.dataclasses import dataclass

from ..framing.table import framing_of_table
from .settings import Mode, TrainerSettings
from .split import PictureFile
from .trainer import FinetuneConfig


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainingRecipe(TrainerSettings):
    """One way to fine-tune. The number of optimiser steps follows from the number of pictures.

    An unknown setting is an error. Learning rates are those of the paper unless given.

    Attributes:
        steps_per_picture: presentations of each picture (with batch 1: the paper's steps per image).
        tags: what captions are made of besides the prompt, each with the share of the captions that hold it; as
            `ss_tag_frequency` counts them. Empty: every picture is captioned with the prompt.
    """

    mode: Mode  # type: ignore[misc]  # no default here
    steps_per_picture: int = 50
    tags: tuple[tuple[str, float], ...] = ()

    @field_validator("framing")
    @classmethod
    def _is_a_framing(cls, table: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if table is not None:
            framing_of_table(table)
        return table

    def __post_init__(self) -> None:
        self.check()

    def configure(
        self, *, pictures: int, prompt: str, class_prompt: str, seed: int, captions: Sequence[str] = ()
    ) -> FinetuneConfig:
        """Return the settings of one training.

        Args:
            pictures: number of training pictures.
            prompt: prompt that the pictures are trained with.
            class_prompt: prompt of the prior loss.
            seed: random seed.
            captions: of each picture; empty: all have the prompt.
        """
        return FinetuneConfig(
            **{f.name: getattr(self, f.name) for f in fields(TrainerSettings)},
            prompt=prompt,
            class_prompt=class_prompt,
            steps=max(1, round(self.steps_per_picture * pictures / self.batch)),
            captions=tuple(captions),
            seed=seed,
        )

    def draw_captions(self, prompt: str, pictures: Sequence[PictureFile]) -> tuple[str, ...]:
        """Draw a caption for each picture from the tags: the prompt first; none without tags.

        What a picture gets depends on its bytes alone, so that two trainings caption it alike.
        """
        return tuple(self._draw_caption(prompt, p.sha256) for p in pictures) if self.tags else ()

    def _draw_caption(self, prompt: str, sha256: str) -> str:
        rng = random.Random(hashlib.sha256(f"caption {sha256}".encode()).digest())
        drawn = [tag for tag, share in self.tags if rng.random() < share and tag != prompt]
        return ", ".join([prompt, *drawn])
