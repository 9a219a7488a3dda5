"""Views of a picture: in which ways the copy that was trained on may differ from the one that is asked about.

A trainer may have mirrored, cropped, compressed or scaled the picture; or the picture that is asked about is itself a
cropped or slightly perturbed copy of the one on the web. Every view is a pure function of the square that the method
sees, so that it can be made again from a bundle of evidence.
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
CROP = 0.9  # share of the side that stays, or that the picture takes up once it is widened
JPEG_QUALITY = 50
SMOOTHING = 0.7  # pixels: takes out noise of single pixels and leaves what is larger


def as_given(image: Square) -> Square:
    """The picture itself."""
    return image


def mirror(image: Square) -> Square:
    """Left and right exchanged."""
    return image.flip(-1)


def crop(image: Square, share: float = CROP) -> Square:
    """Its centre, `share` of the side, scaled up to the whole: the trainer cropped it."""
    side = image.shape[-1]
    rim = round(side * (1 - share) / 2)
    inner = _to_pil(image).crop((rim, rim, side - rim, side - rim))
    return _to_tensor(inner.resize((side, side), Image.Resampling.LANCZOS))


def widen(image: Square) -> Square:
    """Scaled down, with a rim of its own mirrored edges: what is asked about was cropped from the trained picture."""
    side = image.shape[-1]
    rim = round(side * (1 - CROP) / 2)
    small = _to_pil(image).resize((side - 2 * rim, side - 2 * rim), Image.Resampling.LANCZOS)
    return _to_tensor(Image.fromarray(np.pad(np.asarray(small), ((rim, rim), (rim, rim), (0, 0)), "symmetric")))


def compress(image: Square) -> Square:
    """Through JPEG, in memory."""
    buffer = io.BytesIO()
    _to_pil(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as read:
        return _to_tensor(read.convert("RGB"))


def halve(image: Square) -> Square:
    """Scaled to half of the side and back."""
    side = image.shape[-1]
    small = _to_pil(image).resize((side // 2, side // 2), Image.Resampling.LANCZOS)
    return _to_tensor(small.resize((side, side), Image.Resampling.BICUBIC))


def smooth(image: Square) -> Square:
    """Lightly blurred: what is asked about carries a perturbation that the trained picture did not."""
    return _to_tensor(_to_pil(image).filter(ImageFilter.GaussianBlur(SMOOTHING)))


VIEWS: dict[str, Callable[[Square], Square]] = {
    AS_GIVEN: as_given,
    "mirrored": mirror,
    "cropped": crop,
    "widened": widen,
    "jpeg": compress,
    "resized": halve,
    "smoothed": smooth,
}


def check_views(names: Sequence[str]) -> None:
    """See that there is one at least, and none that is unknown or named twice.

    Raises:
        UserError: otherwise.
    """
    accepted = f"accepted: each once, one or more of {', '.join(VIEWS)}"
    if not names:
        raise UserError(f"no view of a picture was given; {accepted}")
    if unknown := [name for name in names if name not in VIEWS]:
        raise UserError(f"view {unknown[0]!r} is not known; {accepted}")
    if len(set(names)) < len(names):
        raise UserError(f"views {', '.join(names)} were given; {accepted}")


def _to_pil(image: Square) -> Image.Image:
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy())


def _to_tensor(picture: Image.Image) -> Square:
    return torch.from_numpy(np.array(picture)).movedim(-1, 0).float() / 255
