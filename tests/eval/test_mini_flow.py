"""The embedded flow model that ships: its layout, its size, that it listens, that its example is told."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cgidm.families import load_pair
from cgidm.judging.scoring import score_views
from cgidm.method.config import RunConfig
from cgidm.method.objective import denoising_loss
from cgidm.pictures.images import read_picture
from cgidm.resources import resource_root
from eval.asset_recipes.picture_words import Caption, describe_picture

MODEL = resource_root() / "mini-flow"
PICTURES = resource_root() / "examples" / "rollandin-lora"
MOST_BYTES = 12 * 2**20


@pytest.fixture(scope="module")
def example():
    return json.loads((MODEL / "example" / "example.json").read_text())


def pictures(role, count, side=128):
    return [read_picture(p, side) for p in sorted((PICTURES / role).iterdir())[:count]]


def test_the_folder_is_small():
    files = [p for p in MODEL.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= MOST_BYTES
    assert max(p.stat().st_size for p in files) < 10e6


def test_the_autoencoder_is_the_first_model_s():
    name = "vae/diffusion_pytorch_model.safetensors"
    assert (MODEL / name).read_bytes() == (resource_root() / "mini" / name).read_bytes()


def test_the_example_names_its_pictures(example):
    folder = (MODEL / "example" / example["pictures"]).resolve()
    assert folder == PICTURES
    assert example["training"]["prompt"] == example["prompt"]


def test_a_wrong_caption_costs(example):
    """On drawings by a hand that it has not seen, of which the captions tell the colours."""
    shown = pictures("holdout", 6)
    captions = []
    for path in sorted((PICTURES / "holdout").iterdir())[:6]:
        with Image.open(path) as image:
            captions.append(
                Caption("a clip art", describe_picture(np.asarray(image.convert("RGB").resize((128, 128))))).full()
            )
    rows, losses = torch.tensor([300, 500, 700, 850]), {"right": [], "wrong": [], "blank": []}
    for i, picture in enumerate(shown):
        said = {"right": captions[i], "wrong": "a painting, black brown, black top, black bottom, dark", "blank": ""}
        for name, prompt in said.items():
            pair = load_pair(str(MODEL), str(MODEL), prompt)
            z = pair.codec.encode(picture.image[None]).expand(len(rows), -1, -1, -1)
            eps = torch.randn(z.shape, generator=torch.Generator().manual_seed(i))
            with torch.no_grad():
                losses[name].append(denoising_loss(pair.base, pair.schedule, z, rows, eps).mean().item())
    assert sum(losses["right"]) < 0.99 * sum(losses["blank"]) < 0.99 * 0.99 * sum(losses["wrong"])


def test_the_example_is_told_from_its_base(example):
    pair = load_pair(str(MODEL), str(MODEL / "example" / "checkpoint"), example["prompt"])
    with torch.no_grad():
        members, holdouts = (score_views(pair, pictures(role, 5), RunConfig())[0] for role in ("member", "holdout"))
    assert members.min() > holdouts.max()
