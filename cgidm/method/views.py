"""Views of a picture: how the training copy may differ from the submitted picture.

A trainer may have mirrored, cropped, compressed or scaled the picture. Or the submitted picture may be a cropped or
slightly perturbed copy of the one on the web. Every view is a pure function of the method's square input, so it can
be recomputed from a bundle of evidence.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageFilter
from torch import Tensor

from ..errors import UserError

Square = Float[Tensor, "3 H W"]  # in [0, 1]
AS_GIVEN = "as given"
CROP = 0.9  # share of the side that is kept, or that the picture takes up once it is widened
JPEG_QUALITY = 50
SMOOTHING = 0.7  # pixels: removes single-pixel noise, keeps larger structures


def as_given(image: Square) -> Square:
    """Return the picture itself."""
    return image


def mirror(image: Square) -> Square:
    """Mirror left and right."""
    return image.flip(-1)


def crop(image: Square, share: float = CROP) -> Square:
    """Crop to the centre, `share` of the side, and scale up: the trainer cropped the picture."""
    side = image.shape[-1]
    rim = round(side * (1 - share) / 2)
    inner = _to_pil(image).crop((rim, rim, side - rim, side - rim))
    return _to_tensor(inner.resize((side, side), Image.Resampling.LANCZOS))


def widen(image: Square) -> Square:
    """Scale down and pad with mirrored edges: the submitted picture was cropped from the training copy."""
    side = image.shape[-1]
    rim = round(side * (1 - CROP) / 2)
    small = _to_pil(image).resize((side - 2 * rim, side - 2 * rim), Image.Resampling.LANCZOS)
    return _to_tensor(Image.fromarray(np.pad(np.asarray(small), ((rim, rim), (rim, rim), (0, 0)), "symmetric")))


def compress(image: Square) -> Square:
    """Compress as JPEG, in memory."""
    buffer = io.BytesIO()
    _to_pil(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as read:
        return _to_tensor(read.convert("RGB"))


def rescale(image: Square) -> Square:
    """Scale to half of the side and back."""
    side = image.shape[-1]
    small = _to_pil(image).resize((side // 2, side // 2), Image.Resampling.LANCZOS)
    return _to_tensor(small.resize((side, side), Image.Resampling.BICUBIC))


def smooth(image: Square) -> Square:
    """Blur lightly: the submitted picture carries a perturbation that the training copy did not."""
    return _to_tensor(_to_pil(image).filter(ImageFilter.GaussianBlur(SMOOTHING)))


VIEWS: dict[str, Callable[[Square], Square]] = {
    AS_GIVEN: as_given,
    "mirrored": mirror,
    "cropped": crop,
    "widened": widen,
    "jpeg": compress,
    "resized": rescale,
    "smoothed": smooth,
}


def check_views(names: Sequence[str]) -> None:
    """Check that there is at least one view, and none unknown or repeated.

    Raises:
        UserError: otherwise.
    """
    if not names:
        raise UserError("method.no_view", accepted=list(VIEWS))
    if unknown := [name for name in names if name not in VIEWS]:
        raise UserError("method.unknown_view", given=unknown[0], accepted=list(VIEWS))
    if len(set(names)) < len(names):
        raise UserError("method.repeated_view", given=list(names), accepted=list(VIEWS))


def _to_pil(image: Square) -> Image.Image:
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy())


def _to_tensor(picture: Image.Image) -> Square:
    return torch.from_numpy(np.array(picture)).movedim(-1, 0).float() / 255
