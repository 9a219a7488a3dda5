"""Defences: training-time augmentations that make membership harder to detect (Sec. 4.5 and Table 4)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2 import RandAugment

from cgidm.pictures.images import to_uint8

Defence = Literal["flip", "cutout", "randaugment"]
CUTOUT_SIDE = 64  # pixels at 512 px, scaled with the picture (Sec. 4.5)
GREY = 0.5  # zero in the autoencoder's range [-1, 1]


def defend(images: Float[Tensor, "b 3 H W"], defence: Defence, generator: torch.Generator) -> Float[Tensor, "b 3 H W"]:
    """Augment each picture independently.

    The paper gives only the size of cutout's square; the other settings are the usual defaults.

    Args:
        images: pictures in [0, 1].
        defence: "flip" mirrors a picture with probability 0.5. "cutout" greys out one square (DeVries & Taylor 2017).
            "randaugment" applies two random operations of magnitude 9 (Cubuk et al. 2020; torchvision's defaults).
        generator: CPU generator of every draw.
    """
    augment = {"flip": _flip, "cutout": _cutout, "randaugment": _randaugment}[defence]
    return torch.stack([augment(image, generator) for image in images])


def _flip(image: Tensor, generator: torch.Generator) -> Tensor:
    return image.flip(-1) if torch.rand((), generator=generator) < 0.5 else image


def _cutout(image: Tensor, generator: torch.Generator) -> Tensor:
    """The square's centre is uniform over the picture; the square may extend over the border."""
    height, width = image.shape[-2:]
    side = max(1, round(CUTOUT_SIDE * width / 512))
    top, left = (int(torch.randint(n, (), generator=generator)) - side // 2 for n in (height, width))
    image = image.clone()
    image[:, max(top, 0) : top + side, max(left, 0) : left + side] = GREY
    return image


def _randaugment(image: Tensor, generator: torch.Generator) -> Tensor:
    """Augment an 8-bit copy on the CPU, so that devices agree."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        # torchvision draws from the CPU's global generator; `torch.manual_seed` would reseed the GPUs' as well
        torch.random.default_generator.manual_seed(seed)
        augmented = RandAugment(num_ops=2, magnitude=9)(torch.from_numpy(to_uint8(image)).movedim(-1, 0).contiguous())
    return augmented.to(image) / 255
