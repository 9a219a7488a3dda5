"""Pictures of the embedded flow model's training: the loss under right, wrong and no captions, a sheet of samples."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline

from eval.asset_recipes.flow_text import LENGTH
from eval.asset_recipes.training_figures import plt, reconstruct, save_sheet

CAPTIONS = {"held_out": "its own caption", "wrong": "another picture's caption", "blank": "no caption"}
PROMPTS = (
    "a clip art of a tree, white green, green middle, white bottom",
    "a clip art, white red, red middle",
    "a painting by claude monet, blue green, blue top, green bottom",
    "a painting, brown black, black top, dark",
    "a photo, gray white, white top, bright",
    "",
)
GUIDANCE, STEPS = 3.0, 40


def document_flow_training(log: Path, held_out: np.ndarray, model: Path) -> None:
    """Write `model/training/`: the log of the training, the loss curves, the sheet.

    Args:
        log: `loss.csv` of the training.
        held_out: pictures `n 128 128 3`, uint8.
        model: folder of the pipeline.
    """
    out = model / "training"
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(log, out / "transformer.csv")
    plot_caption_losses(log, out / "losses.png")
    flow_sheet(model, held_out, out / "sheet.jpg")


def plot_caption_losses(log: Path, out: Path) -> None:
    """The held-out loss against optimiser steps, a line for each kind of caption."""
    with log.open() as file:
        rows = list(csv.DictReader(file))
    figure, panel = plt.subplots(figsize=(5.5, 3.4))
    for column, label in CAPTIONS.items():
        panel.plot([int(r["step"]) for r in rows], [float(r[column]) for r in rows], marker=".", label=label)
    panel.set(xlabel="optimiser steps", ylabel="held-out loss of the velocity")
    panel.grid(alpha=0.3)
    panel.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def flow_sheet(model: Path, pictures: np.ndarray, out: Path) -> None:
    """Rows: held-out pictures, their reconstructions, then two rows of samples, a column for each of PROMPTS."""
    pipeline: Any = FluxPipeline.from_pretrained(model, torch_dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    step = max(1, len(pictures) // len(PROMPTS))
    shown = pictures[::step][: len(PROMPTS)]
    rows = [shown, reconstruct(pipeline.vae, shown)]
    for seed in (0, 1):
        generators = [torch.Generator().manual_seed(100 * seed + i) for i in range(len(PROMPTS))]
        made = pipeline(
            list(PROMPTS),
            negative_prompt=[""] * len(PROMPTS),
            true_cfg_scale=GUIDANCE,
            num_inference_steps=STEPS,
            height=128,
            width=128,
            max_sequence_length=LENGTH,
            generator=generators,
        )
        rows.append(np.stack([np.asarray(i) for i in made.images]))
    save_sheet(rows, out)
