"""Partial representations: what is removed from a picture before the recovery (Sec. 3.1 and 4.4.1)."""

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
    """What the recovery may know of a batch.

    Attributes:
        mask: 1 where a cell is kept, 0 where it is removed; one for all, or one for each.
        start: the latents that the recovery starts from.
    """

    mask: Float[Tensor, "m 1 h w"]
    start: Float[Tensor, "b c h w"]


def make_partial(
    kind: PartialKind,
    codec: Codec,
    images: Float[Tensor, "b 3 H W"],
    z: Float[Tensor, "b c h w"],
    start: Start = "reencoded",
    *,
    mirrored: bool = False,
) -> Partial:
    """Remove half of every latent (or blur the pictures), and make a start from the rest.

    Masks apply to the latents. The start holds the true kept cells and depends on nothing that was removed. A blurred
    picture keeps no cell exactly, so its mask is zero everywhere.

    Args:
        kind: what is removed: a checkerboard of blocks, the right half, or detail (blur).
        codec: between pictures and latents.
        images: the pictures, in [0, 1].
        z: their latents.
        start: how removed cells are filled. "reencoded" decodes the masked latents and encodes them again (the paper).
            "interpolated" fills them from the kept cells around them: the recovery then spends no steps on traces of
            the mask, which are the same for all pictures.
        mirrored: mirror the mask: of mirror images the same is removed as of the pictures.

    Raises:
        UserError: for a kind that is not one of `PartialKind`.
    """
    height, width = z.shape[-2:]
    if kind == "blur":
        mask = torch.zeros(1, 1, height, width)
        z_start = codec.encode(gaussian_blur(images, BLUR_RADIUS * images.shape[-1] / 512))
    elif kind == "right_half" or re.fullmatch(r"block\d+", kind):
        mask = right_half_mask(height, width) if kind == "right_half" else block_mask(height, width, int(kind[5:]))
        mask = (mask.flip(-1) if mirrored else mask).to(z.device, z.dtype)
        z_start = interpolate(mask * z, mask) if start == "interpolated" else codec.encode(codec.decode(mask * z))
    else:
        raise UserError("method.unknown_partial", given=kind, accepted=list(get_args(PartialKind)))
    mask = mask.to(z.device, z.dtype)
    return Partial(mask, mask * z + (1 - mask) * z_start)


def interpolate(
    z: Float[Tensor, "b c h w"], mask: Float[Tensor, "1 1 h w"], reach: int = 2
) -> Float[Tensor, "b c h w"]:
    """Fill removed cells with the mean of the kept cells up to `reach` cells away, from the edge inwards.

    Raises:
        UserError: if no cell is kept.
    """
    if not mask.any():
        raise UserError("method.nothing_kept")
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
    """Make a checkerboard that keeps the two diagonal quarters of every `block` x `block` square: half of the cells.

    `block` is the paper's size (2, 4 or 8, default 4), so the board's squares are block / 2 wide.
    """
    if block < 2 or block % 2:
        raise UserError("method.block_size", given=block)
    rows = torch.arange(height)[:, None] // (block // 2)
    columns = torch.arange(width)[None, :] // (block // 2)
    return ((rows + columns) % 2 == 0).float()[None, None]


def right_half_mask(height: int, width: int) -> Float[Tensor, "1 1 h w"]:
    """Make a mask that keeps the left half."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


def gaussian_blur(images: Float[Tensor, "b 3 H W"], radius: float) -> Float[Tensor, "b 3 H W"]:
    """Blur with Pillow's Gaussian blur of `radius` pixels, which footnote 10 of the paper names."""
    blurred = [to_pil_image(i.cpu().clamp(0, 1)).filter(ImageFilter.GaussianBlur(radius)) for i in images]
    return torch.stack([to_image(b) for b in blurred]).to(images.device, images.dtype) / 255
