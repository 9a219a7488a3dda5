"""`python -m eval reconstruct`: how well the shipped autoencoder gives back pictures that it has never seen."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from cgidm.pictures.images import read_picture
from eval.asset_recipes.autoencoder import reconstruction_psnr


def measure_reconstruction(model: Path, folders: list[Path], out: Path) -> dict:
    """PSNR in dB at 128 px over every JPEG below each folder; writes `reconstruction.json` to `out`."""
    vae: Any = AutoencoderKL.from_pretrained(model / "vae", torch_dtype=torch.float32).eval()
    report = {}
    for folder in folders:
        images = torch.stack([read_picture(p, 128).image for p in sorted(folder.rglob("*.jpg"))])
        psnr = reconstruction_psnr(vae, 2 * images - 1)
        report[folder.name] = {"pictures": len(images), "mean": round(psnr.mean().item(), 2)}
        report[folder.name]["min"] = round(psnr.min().item(), 2)
    out.mkdir(parents=True, exist_ok=True)
    (out / "reconstruction.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(measure_reconstruction(options.model, options.folders, options.out))
