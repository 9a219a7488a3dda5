"""A training recipe: how a model is fine-tuned, whatever pictures and prompt it is given."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from ..framing.table import framing_of_table
from .defences import Defence
from .trainer import FinetuneConfig, Mode


class TrainingRecipe(BaseModel):
    """One way to fine-tune. The number of optimiser steps follows from the number of pictures.

    Frozen; an unknown key is an error. Learning rates are those of the paper unless given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    steps_per_picture: int = 50  # presentations of each picture (with batch 1: the paper's steps per image)
    batch: int = 1
    learning_rate: float = 2e-6
    prior_weight: float = 1.0
    prior_pictures: int = 20
    rank: int = 16  # LoRA only
    defence: Defence | None = None
    framing: Mapping[str, Any] | None = None  # as `framing.table` writes it; None: centre squares

    @field_validator("framing")
    @classmethod
    def _is_a_framing(cls, table: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if table is not None:
            framing_of_table(table)
        return table

    def configure(self, *, pictures: int, prompt: str, class_prompt: str, seed: int) -> FinetuneConfig:
        """Return the settings of one training.

        Args:
            pictures: number of training pictures.
            prompt: prompt that the pictures are trained with.
            class_prompt: prompt of the prior loss.
            seed: random seed.
        """
        return FinetuneConfig(
            mode=self.mode,
            prompt=prompt,
            class_prompt=class_prompt,
            steps=max(1, round(self.steps_per_picture * pictures / self.batch)),
            batch=self.batch,
            learning_rate=self.learning_rate,
            prior_weight=self.prior_weight,
            prior_pictures=self.prior_pictures,
            rank=self.rank,
            defence=self.defence,
            framing=self.framing,
            seed=seed,
        )
