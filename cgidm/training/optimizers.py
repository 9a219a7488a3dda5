"""The optimisers and schedules of the trainers that are met, each from the library that they use."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor

from ..errors import UserError
from .settings import OptimizerName, TrainerSettings

DECAY = 1e-2  # of the weights, as the trainers have it
LIBRARIES: dict[OptimizerName, tuple[str, str, str]] = {  # module, class, and what is installed for it
    "adamw": ("torch.optim", "AdamW", "torch"),
    "adamw8bit": ("bitsandbytes.optim", "AdamW8bit", "bitsandbytes"),
    "lion": ("lion_pytorch", "Lion", "lion-pytorch"),
    "prodigy": ("prodigyopt", "Prodigy", "prodigyopt"),
}


def make_optimizer(
    weights: Sequence[Tensor], settings: TrainerSettings, text_weights: Sequence[Tensor] = ()
) -> torch.optim.Optimizer:
    """Make the optimiser of these settings.

    Prodigy is set as kohya's and OneTrainer's users set it: with a guard in the warm-up and with bias correction.

    Args:
        weights: all, or those of the network.
        settings: of the training.
        text_weights: those of an adapter's text encoder, which may have a rate of their own.

    Raises:
        UserError: if its library is not installed.
    """
    module, name, package = LIBRARIES[settings.optimizer]
    try:
        kind: Any = getattr(import_module(module), name)
    except ImportError:
        raise UserError("training.no_optimizer", optimizer=settings.optimizer, package=package) from None
    groups: list[dict[str, Any]] = [{"params": list(weights)}]
    if text_weights:
        groups.append({"params": list(text_weights)})
        if settings.text_learning_rate is not None and settings.optimizer != "prodigy":
            groups[1]["lr"] = settings.text_learning_rate
    more: dict[str, Any] = (
        {"safeguard_warmup": True, "use_bias_correction": True} if settings.optimizer == "prodigy" else {}
    )
    with redirect_stdout(StringIO()):  # Prodigy prints a line
        return kind(groups, lr=settings.learning_rate, weight_decay=DECAY, **more)


def make_schedule(optimizer: Any, settings: TrainerSettings, steps: int) -> Any:
    """Make the schedule of the learning rate over so many steps; its `step` follows each of the optimiser's."""
    warmup = round(settings.warmup * steps)
    name = "constant_with_warmup" if settings.schedule == "constant" and warmup else settings.schedule
    return get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=steps, num_cycles=settings.restarts
    )
