"""How the training scripts of diffusers frame a picture.

Source: https://github.com/huggingface/diffusers, `examples/dreambooth/train_dreambooth_lora.py`,
`train_dreambooth_lora_sdxl.py`, `train_dreambooth_lora_flux.py` (`DreamBoothDataset`),
`examples/text_to_image/train_text_to_image_lora.py`; https://github.com/pytorch/vision,
`torchvision/transforms/functional.py` (`_compute_resized_output_size`, `center_crop`).
"""

from dataclasses import dataclass

from .frame import Frame, Resample
from .settings import LARGEST_SIDE, check_between, tell

RULE = "diffusers"


@dataclass(frozen=True, kw_only=True)
class DiffusersScript:
    """The short side is scaled to `resolution`, and of the long side a square is kept.

    Attributes:
        resolution: the side of the square, in pixels (`--resolution`: 512, or 1024 for SDXL).
        random_crop: whether the square was chosen anew each time, as it is without `--center_crop`; `frame` gives the
            middle.
        interpolation: the filter: bilinear, or Lanczos in scripts with `--image_interpolation_mode`.

    Raises:
        UserError: if a setting is out of bounds.
    """

    resolution: int = 512
    random_crop: bool = True
    interpolation: Resample = "bilinear"

    def __post_init__(self) -> None:
        check_between(RULE, "resolution", self.resolution, 1, LARGEST_SIDE)

    @property
    def most_pixels(self) -> int:
        """The square's area."""
        return self.resolution**2

    def frame(self, width: int, height: int) -> Frame:
        """The frame of a picture of this size."""
        side = self.resolution
        if width <= height:
            scaled = side, int(side * height / width)
        else:
            scaled = int(side * width / height), side
        corner = round((scaled[0] - side) / 2), round((scaled[1] - side) / 2)  # halves go to the even number
        return Frame(
            original=(width, height),
            cut=(0, 0, width, height),
            scaled=scaled,
            corner=corner,
            size=(side, side),
            resample=self.interpolation,
            told=tell((width, height), corner, (side, side)),
        )
