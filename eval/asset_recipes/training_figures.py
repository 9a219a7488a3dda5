"""Pictures of the embedded model's training: its loss curves, its reconstructions, its samples."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LOGS = {"autoencoder": "autoencoder: held-out PSNR, dB", "denoiser": "denoiser: held-out mean squared error of eps"}
PROMPTS = ("a painting by claude monet", "a photo", "a clip art of a tree", "a clip art of a flag", "a painting", "")


def document_training(work: Path, held_out: np.ndarray, model: Path) -> None:
    """Write `model/training/`: the logs and the list of sources from `work`, the loss curves and the sheet."""
    out = model / "training"
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(work / "SOURCES.csv", out / "SOURCES.csv")
    for part in LOGS:
        shutil.copyfile(work / part / "loss.csv", out / f"{part}.csv")
    plot_losses({label: out / f"{part}.csv" for part, label in LOGS.items()}, out / "losses.png")
    sample_sheet(model, held_out, out / "sheet.jpg")


def plot_losses(logs: dict[str, Path], out: Path) -> None:
    """One panel a log: the held-out column against optimiser steps."""
    figure, panels = plt.subplots(1, len(logs), figsize=(5 * len(logs), 3.2), squeeze=False)
    for panel, (label, path) in zip(panels[0], logs.items(), strict=True):
        with path.open() as file:
            rows = list(csv.DictReader(file))
        panel.plot([int(r["step"]) for r in rows], [float(r["held_out"]) for r in rows], marker=".")
        panel.set(xlabel="optimiser steps", ylabel=label)
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def sample_sheet(model: Path, pictures: np.ndarray, out: Path) -> None:
    """Rows: held-out pictures, their reconstructions, then two rows of samples, a column for each of PROMPTS.

    `pictures` is `n 128 128 3`, uint8; as many as there are prompts are used.
    """
    pipeline: Any = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    shown = pictures[: len(PROMPTS)]
    rows = [shown, reconstruct(pipeline.vae, shown)]
    for seed in (0, 1):
        generators = [torch.Generator().manual_seed(100 * seed + i) for i in range(len(PROMPTS))]
        made = pipeline(list(PROMPTS), num_inference_steps=50, guidance_scale=3.0, generator=generators)
        rows.append(np.stack([np.asarray(i) for i in made.images]))
    save_sheet(rows, out)


@torch.no_grad()
def reconstruct(vae: Any, pictures: np.ndarray) -> np.ndarray:
    """Pictures `n h w 3`, uint8, encoded and decoded again."""
    images = torch.as_tensor(pictures).movedim(-1, 1).float() / 127.5 - 1
    decoded = vae.decode(vae.encode(images).latent_dist.mode()).sample
    return ((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).numpy()


def save_sheet(rows: Sequence[np.ndarray], out: Path) -> None:
    """Save rows of as many pictures each, `n h w 3`, as one picture."""
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    Image.fromarray(sheet).save(out, quality=90)
