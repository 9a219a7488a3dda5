"""Views of a picture: how the training copy may differ from the submitted picture.

A trainer may have mirrored, cropped, compressed or scaled the picture. Or the submitted picture may be a cropped or
slightly perturbed copy of the one on the web. Every view is a pure function of the picture as the method sees it, so
it can be recomputed from a bundle of evidence.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageFilter
from torch import Tensor

from ..errors import UserError

Framed = Float[Tensor, "3 H W"]  # in [0, 1]
AS_GIVEN = "as given"
CENTRE_SQUARE = "centre square"  # of the file itself, where nobody knows how a trainer framed pictures: not a view of
# the framed picture, and not among `VIEWS`
CROP = 0.9  # share of the side that is kept, or that the picture takes up once it is widened
JPEG_QUALITY = 50
SMOOTHING = 0.7  # pixels: removes single-pixel noise, keeps larger structures


def as_given(image: Framed) -> Framed:
    """Return the picture itself."""
    return image


def mirror(image: Framed) -> Framed:
    """Mirror left and right."""
    return image.flip(-1)


def crop(image: Framed, share: float = CROP) -> Framed:
    """Crop to the centre, `share` of each side, and scale up: the trainer cropped the picture."""
    picture = _to_pil(image)
    (width, height), (beside, above) = picture.size, _rim(picture, share)
    inner = picture.crop((beside, above, width - beside, height - above))
    return _to_tensor(inner.resize(picture.size, Image.Resampling.LANCZOS))


def widen(image: Framed) -> Framed:
    """Scale down and pad with mirrored edges: the submitted picture was cropped from the training copy."""
    picture = _to_pil(image)
    (width, height), (beside, above) = picture.size, _rim(picture, CROP)
    small = picture.resize((width - 2 * beside, height - 2 * above), Image.Resampling.LANCZOS)
    rims = (above, above), (beside, beside), (0, 0)
    return _to_tensor(Image.fromarray(np.pad(np.asarray(small), rims, "symmetric")))


def compress(image: Framed) -> Framed:
    """Compress as JPEG, in memory."""
    buffer = io.BytesIO()
    _to_pil(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as read:
        return _to_tensor(read.convert("RGB"))


def rescale(image: Framed) -> Framed:
    """Scale to half of each side and back."""
    picture = _to_pil(image)
    small = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    return _to_tensor(small.resize(picture.size, Image.Resampling.BICUBIC))


def smooth(image: Framed) -> Framed:
    """Blur lightly: the submitted picture carries a perturbation that the training copy did not."""
    return _to_tensor(_to_pil(image).filter(ImageFilter.GaussianBlur(SMOOTHING)))


VIEWS: dict[str, Callable[[Framed], Framed]] = {
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
    if unknown := [name for name in names if name not in (*VIEWS, CENTRE_SQUARE)]:
        raise UserError("method.unknown_view", given=unknown[0], accepted=list(VIEWS))
    if len(set(names)) < len(names):
        raise UserError("method.repeated_view", given=list(names), accepted=list(VIEWS))


def _rim(picture: Image.Image, share: float) -> tuple[int, int]:
    """What is cut off on either side, and above and below, so that `share` of each side stays."""
    return round(picture.width * (1 - share) / 2), round(picture.height * (1 - share) / 2)


def _to_pil(image: Framed) -> Image.Image:
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy())


def _to_tensor(picture: Image.Image) -> Framed:
    return torch.from_numpy(np.array(picture)).movedim(-1, 0).float() / 255
