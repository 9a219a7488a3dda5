"""What a bank of null models would cost: counted from headers and configurations, before anything is trained."""

import json
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cgidm.intake.layout import Checkpoint, read_json
from cgidm.method.config import RunConfig

from . import hardware

if TYPE_CHECKING:
    from cgidm.training.recipe import TrainingRecipe

MODELS = 8  # as `cgidm bank` trains without an option
FEWEST_WORKS, USUAL_WORKS = 4, 20  # a bank needs so many; what is counted for whoever has not said how many
PARTS = ("unet", "vae", "text_encoder")  # whose configurations tell the memory of a base that is counted
SINGLE = 4  # bytes of a number in a training
HEADROOM = 1.2  # times the counted memory, which is without the kernels' own
UNCOUNTED = 1.5  # times the base's weights, where the memory of a training is not counted
MOST_COUNTED = 64  # counts that are kept: one takes seconds
SPREAD = (0.5, 3.0)  # of the time: nobody has timed a training here


@dataclass(frozen=True, kw_only=True)
class BankCost:
    """What a bank costs.

    Attributes:
        works: pictures that it is counted for.
        models: to train.
        images: training pictures of each.
        batch: pictures of an optimiser step.
        steps: optimiser steps of all models; None: the suspect's file does not tell how long it was trained.
        memory: bytes of a training; None: not counted.
        weights: bytes of the base in single precision, which a training takes at least.
        seconds: from and to, on a machine as fast as this one; None: not known.
    """

    works: int
    models: int
    images: int
    batch: int
    steps: int | None
    memory: int | None
    weights: int
    seconds: tuple[float, float] | None

    @property
    def scores(self) -> int:
        """Scores of all works under all models."""
        return self.models * self.works

    @property
    def needed(self) -> float:
        """Bytes that a GPU should have."""
        return UNCOUNTED * self.weights if self.memory is None else HEADROOM * self.memory


def count_bank(base: Checkpoint, suspect: Checkpoint, works: int) -> BankCost:
    """Count what null models of a suspect cost; no weight is read or downloaded.

    Args:
        base: the public base.
        suspect: whose training they follow.
        works: pictures of the artist that the visitor has handed over.

    Raises:
        UserError: if no null models can be trained for them.
    """
    from cgidm.training.cost import is_counted, scoring_evaluations, training_evaluations
    from cgidm.training.recipe_reader import read_recipe
    from cgidm.training.trainable import check_trainable
    from cgidm.training.trained_model import ModelPlan

    check_trainable(base, suspect)
    recipe = read_recipe(suspect, {})
    works = works if works >= FEWEST_WORKS else USUAL_WORKS  # halves of the works: `BankPlan.draw_halves`
    images = min((works + 1) // 2, recipe.images or works)
    config = recipe.training.configure(pictures=images, seed=0, prompt="", class_prompt="")
    known, counted = "steps_per_picture" in recipe.sources, is_counted(base.config or {})
    seconds = None
    if known and counted and (hardware.kind() != "cpu" or _is_small(base)):
        forward = training_evaluations([ModelPlan("model", config, ())]) * MODELS
        usual = RunConfig()
        forward += MODELS * scoring_evaluations(works, usual.loss_draws, usual.mirror_draws)
        each = hardware.FIRST_GUESS[hardware.kind()] / 3  # an evaluation there has a backward pass, too
        seconds = (SPREAD[0] * forward * each, SPREAD[1] * forward * each)
    return BankCost(
        works=works,
        models=MODELS,
        images=images,
        batch=recipe.training.batch,
        steps=MODELS * config.steps if known else None,
        memory=_training_memory(base, recipe.training) if counted else None,
        weights=SINGLE * sum(t.numel for t in base.tensors.values()),
        seconds=seconds,
    )


_COUNTED: OrderedDict[str, int | None] = OrderedDict()


def _training_memory(base: Checkpoint, training: "TrainingRecipe") -> int | None:
    """Count the bytes of one training from the configurations of the base's parts; None where it cannot be counted."""
    from cgidm.families.library_errors import check_configurations, explain_library_errors
    from cgidm.training.cost import training_bytes
    from cgidm.training.settings import settings_to_table

    tables = {file: read_json(base.listing, file) for file in _config_files(base)}
    settings = {
        k: v for k, v in settings_to_table(training).items() if k not in ("tags", "framing", "steps_per_picture")
    }
    key = json.dumps([tables, settings], sort_keys=True, default=str)
    if key not in _COUNTED:
        with tempfile.TemporaryDirectory(prefix="cgidm-count-") as folder:
            for file, table in tables.items():
                path = Path(folder) / file.removeprefix(f"{base.root}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(table))
            check_configurations(Path(folder), base, list(PARTS))
            with explain_library_errors("base model", base.name):
                _COUNTED[key] = training_bytes(Path(folder), training)
        while len(_COUNTED) > MOST_COUNTED:
            _COUNTED.popitem(last=False)
    return _COUNTED[key]


def _config_files(base: Checkpoint) -> list[str]:
    return [f for part in PARTS for f in base.components[part].extras if f.endswith("/config.json")]


def _is_small(checkpoint: Checkpoint) -> bool:
    return sum(t.numel for t in checkpoint.tensors.values()) <= hardware.LARGEST_ON_CPU
