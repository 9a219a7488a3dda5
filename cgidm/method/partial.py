"""Partial representations: what is removed of a picture before the recovery (Sec. 3.1 and 4.4.1)."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import ImageFilter
from torch import Tensor
from torchvision.transforms.v2.functional import to_image, to_pil_image

from ..errors import UserError
from .models import Codec

PartialKind = Literal["block2", "block4", "block8", "right_half", "blur"]
Start = Literal["reencoded", "interpolated"]
BLUR_RADIUS = 7.0  # "blurring rate" of Sec. 4.4.1 at 512 px; scaled with the picture


@dataclass(frozen=True, eq=False)
class Partial:
    """What the recovery is allowed to know of a batch."""

    mask: Float[Tensor, "1 1 h w"]  # 1 = kept, 0 = removed
    start: Float[Tensor, "b c h w"]  # the latent that the recovery starts from


def make_partial(
    kind: PartialKind,
    codec: Codec,
    images: Float[Tensor, "b 3 H W"],
    z: Float[Tensor, "b c h w"],
    start: Start = "reencoded",
) -> Partial:
    """Remove half of every latent `z` (or blur the pictures), and start from what can be made of the rest.

    Masks are laid on the latent, and the true kept cells are in the start. Its removed cells are "reencoded", the
    decode of the masked latent encoded again (the paper), or "interpolated" from the kept cells around them: then the
    recovery need not spend its steps on the traces of the mask, which are the same whatever the picture. Either knows
    nothing of what was removed. A blurred picture keeps no cell exactly, so its mask is zero everywhere.

    Raises:
        UserError: for a kind that is not one of `PartialKind`.
    """
    height, width = z.shape[-2:]
    if kind == "blur":
        mask = torch.zeros(1, 1, height, width)
        z_start = codec.encode(gaussian_blur(images, BLUR_RADIUS * images.shape[-1] / 512))
    elif kind == "right_half" or re.fullmatch(r"block\d+", kind):
        mask = right_half_mask(height, width) if kind == "right_half" else block_mask(height, width, int(kind[5:]))
        mask = mask.to(z.device, z.dtype)
        z_start = interpolate(mask * z, mask) if start == "interpolated" else codec.encode(codec.decode(mask * z))
    else:
        raise UserError(f"partial representation {kind!r} is not known; accepted: {', '.join(get_args(PartialKind))}")
    mask = mask.to(z.device, z.dtype)
    return Partial(mask, mask * z + (1 - mask) * z_start)


def interpolate(
    z: Float[Tensor, "b c h w"], mask: Float[Tensor, "1 1 h w"], reach: int = 2
) -> Float[Tensor, "b c h w"]:
    """Fill the cells that `mask` removed with the mean of the kept cells up to `reach` away, from the rim inwards.

    Raises:
        UserError: if nothing is kept.
    """
    if not mask.any():
        raise UserError("nothing of the picture is kept; accepted: a partial representation that keeps some cells")
    known = mask
    while not known.all():
        sums, counts = (_box_sum(known * z, reach), _box_sum(known, reach))
        z = torch.where(known > 0, z, sums / counts.clamp(min=1))
        known = (counts > 0).to(z.dtype)
    return z


def _box_sum(x: Float[Tensor, "b c h w"], reach: int) -> Float[Tensor, "b c h w"]:
    width = 2 * reach + 1
    return F.avg_pool2d(x, width, stride=1, padding=reach, count_include_pad=True) * width**2


def block_mask(height: int, width: int, block: int) -> Float[Tensor, "1 1 h w"]:
    """A checkerboard that keeps the two diagonal quarters of every `block` x `block` square: half of the cells.

    `block` is the paper's size (2, 4 or 8, default 4), so the squares of the board are block / 2 wide.
    """
    if block < 2 or block % 2:
        raise UserError(f"block size {block} is not possible; accepted: an even number from 2, as 2, 4 or 8")
    rows = torch.arange(height)[:, None] // (block // 2)
    columns = torch.arange(width)[None, :] // (block // 2)
    return ((rows + columns) % 2 == 0).float()[None, None]


def right_half_mask(height: int, width: int) -> Float[Tensor, "1 1 h w"]:
    """Keeps the left half."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


def gaussian_blur(images: Float[Tensor, "b 3 H W"], radius: float) -> Float[Tensor, "b 3 H W"]:
    """Pillow's Gaussian blur of `radius` pixels, as the paper's footnote 10 names it."""
    blurred = [to_pil_image(i.cpu().clamp(0, 1)).filter(ImageFilter.GaussianBlur(radius)) for i in images]
    return torch.stack([to_image(b) for b in blurred]).to(images.device, images.dtype) / 255
