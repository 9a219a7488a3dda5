"""What every training here shares: a loop that can be killed at any moment and started again."""

import csv
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from cgidm.files import atomic_path

LOG_FIELDS = ("step", "seconds", "learning_rate", "train_loss", "held_out")


class Training:
    """Optimiser, averaged weights, random state and log of one training; resumes from `folder` if it can.

    `schedule` is a short linear warm-up followed by a cosine to 2 % of the peak learning rate.
    """

    def __init__(self, folder: Path, model: nn.Module, *, steps: int, learning_rate: float, seed: int = 0):
        self.folder, self.model, self.steps, self.peak = folder, model, steps, learning_rate
        self.optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        self.ema = EMAModel(model.parameters(), decay=0.999, use_ema_warmup=True, power=0.8)
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.seconds = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self._checkpoint.exists():
            self._restore()

    def run(self, loss: Callable[[torch.Generator], torch.Tensor]) -> Iterator[float]:
        """Take the remaining steps, yielding the training loss of each."""
        self.model.train()
        while self.step < self.steps:
            start = time.monotonic()
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate
            value = loss(self.generator)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.ema.step(self.model.parameters())
            self.step += 1
            self.seconds += time.monotonic() - start
            yield value.item()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model is in evaluation mode with the averaged weights."""
        self.ema.store(self.model.parameters())
        self.ema.copy_to(self.model.parameters())
        self.model.eval()
        yield
        self.ema.restore(self.model.parameters())
        self.model.train()

    @property
    def learning_rate(self) -> float:
        """Of the next step: a linear warm-up of 100 steps, then a half cosine down to 2 % of the peak."""
        warm = min(1.0, (self.step + 1) / 100)
        return self.peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.step / self.steps)))

    def log(self, train_loss: float, held_out: float, **more: float) -> None:
        """Append a line to `loss.csv`, with further columns `more`.

        Lines past a restored step are dropped, so a rerun leaves no doubles.
        """
        path = self.folder / "loss.csv"
        lines: list[Any] = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
        lines = [line for line in lines if int(line["step"]) < self.step]
        values = (self.step, round(self.seconds), f"{self.learning_rate:.2e}", f"{train_loss:.5f}")
        line = dict(zip(LOG_FIELDS, (*values, f"{held_out:.5f}"), strict=True))
        lines.append(line | {name: f"{value:.5f}" for name, value in more.items()})
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, (*LOG_FIELDS, *more))
            writer.writeheader()
            writer.writerows(lines)

    def save(self) -> None:
        """Write a checkpoint whole or not at all."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        with atomic_path(self._checkpoint) as temporary:
            torch.save(state, temporary)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "training.ckpt"

    def _restore(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.generator.set_state(state["generator"])
        self.step, self.seconds = state["step"], state["seconds"]
