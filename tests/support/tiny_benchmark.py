"""A whole experiment that takes seconds: two datasets of noise pictures, a tiny random base, trainings of one step."""

import json

import numpy as np
from PIL import Image

from tests.support import tiny

STEP = {"steps_per_picture": 1, "batch": 2, "learning_rate": 1e-2}
EXPERIMENT = {
    "name": "tiny",
    "about": "a test",
    "datasets": {
        "art": {"folder": "art", "pictures": 4, "prompt": "abc", "class_prompt": "ab"},
        "things": {"folder": "things", "prompt": "{concept}", "class_prompt": "a"},
    },
    "trainings": {"dreambooth": {"mode": "dreambooth", **STEP}, "lora": {"mode": "lora", "rank": 2, **STEP}},
    "methods": [
        {"method": "cgidm", "preset": "fast", "steps": 2, "draws": 1},
        {"method": "loss", "draws": 2},
        {"method": "loss_contrast", "draws": 2},
        "sima",
    ],
    "chance": {"training": "dreambooth", "methods": ["cgidm", "loss_contrast"]},
    "report": {
        "pairs": [["cgidm", "removed_alignment"], ["loss_contrast", "contrast"]],
        "fused": [["cgidm", "removed_alignment"], ["loss_contrast", "contrast"]],
    },
}


def write_experiment(folder, **changes):
    """`folder/tiny.json` with its base, and `folder/data` with three concepts in each dataset."""
    tiny.stable_diffusion().save_pretrained(folder / "base")
    rng = np.random.default_rng(0)
    for dataset, count in (("art", 5), ("things", 4)):
        for concept in ("cat1", "hen", "owl"):
            place = folder / "data" / dataset / concept
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(place / f"{i}.png")
    path = folder / "tiny.json"
    path.write_text(json.dumps({**EXPERIMENT, "base": str(folder / "base"), **changes}))
    return path
