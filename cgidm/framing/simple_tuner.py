"""How SimpleTuner frames a picture.

Source: https://github.com/bghira/SimpleTuner, `simpletuner/helpers/multiaspect/image.py` (`MultiaspectImage`),
`simpletuner/helpers/image_manipulation/training_sample.py` (`calculate_target_size`, `resize`, `crop`), `cropping.py`.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Literal

from .frame import Frame
from .settings import LARGEST_SIDE, LARGEST_STEP, check_between, check_choice, too_small

RULE = "simple_tuner"
UNITS = ("pixel", "area", "pixel_area")
STYLES = ("random", "centre", "corner")
USUAL_SIDES = {0.25: 512, 0.5: 768, 1.0: 1024, 2.0: 1536, 4.0: 2048}  # by megapixels, as the trainer reads them
MOST_ASPECT = 10  # longer pictures are no help to tell how much memory the longest ones need


@dataclass(frozen=True, kw_only=True)
class SimpleTuner:
    """A picture is scaled to a size near that of its bucket, and what stands out is cut off.

    The aspect is rounded to hundredths first: pictures are bent by up to half a hundredth. A bucket has the rounded
    aspect and the area of `resolution`, with sides rounded to the nearest step. A picture whose rounded aspect is 1,
    but which is no exact square, is not scaled down: the part is cut out of it as it is.

    Attributes:
        resolution: the short side in pixels with the unit "pixel", megapixels with "area", the root of the area in
            pixels with "pixel_area".
        unit: what `resolution` counts (`resolution_type`).
        step: what sides of buckets are multiples of (`aspect_bucket_alignment`; FLUX.2 has 16, Qwen-Image 32).
        decimals: of the rounded aspect (`aspect_bucket_rounding`).
        square: whether pictures become squares (`crop` with `crop_aspect` "square").
        crop_style: which part is kept; of a random one, `frame` gives the middle.

    Raises:
        UserError: if a setting is out of bounds.
    """

    resolution: float = 1024
    unit: Literal["pixel", "area", "pixel_area"] = "pixel_area"
    step: int = 64
    decimals: int = 2
    square: bool = False
    crop_style: Literal["random", "centre", "corner"] = "random"

    def __post_init__(self) -> None:
        check_choice(RULE, "unit", self.unit, UNITS)
        check_choice(RULE, "crop_style", self.crop_style, STYLES)
        check_between(RULE, "step", self.step, 1, LARGEST_STEP)
        check_between(RULE, "decimals", self.decimals, 1, 9)
        most = LARGEST_SIDE**2 / 1e6 if self.unit == "area" else LARGEST_SIDE
        check_between(RULE, "resolution", self.resolution, 0.001 if self.unit == "area" else 1, most)

    @property
    def random_crop(self) -> bool:
        """Whether the part was chosen at random, once."""
        return self.crop_style == "random"

    @property
    def _megapixels(self) -> float:
        return self.resolution * self.resolution / 1e6 if self.unit == "pixel_area" else self.resolution

    @property
    def _square_side(self) -> int:
        """The side of square buckets."""
        if self.unit == "pixel":
            return int(self.resolution)
        megapixels = self._megapixels
        usual = next((side for given, side in USUAL_SIDES.items() if abs(megapixels - given) < 0.05), None)
        return self._to_step(sqrt(megapixels * 1e6) if usual is None else usual)

    @property
    def most_pixels(self) -> int:
        """The area of the largest frame of pictures up to an aspect of 1:10."""
        return _most_pixels(self)

    def bucket(self, aspect: float) -> tuple[int, int]:
        """The width and height of pictures of this rounded aspect."""
        side = self._square_side
        target, _ = self._target(aspect, (int(aspect * 1000), 1000))
        return (side, side) if self.square or round(target[0] / target[1], self.decimals) == 1 else target

    def frame(self, width: int, height: int) -> Frame:
        """The frame of a picture of this size.

        Raises:
            UserError: if the picture is so narrow that its rounded aspect is 0.
        """
        original = width, height
        aspect = 1.0 if self.square else round(width / height, self.decimals)
        if aspect == 0:
            raise too_small(RULE, width, height)
        target, scaled = self._target(aspect, original)
        side = self._square_side
        if self.square or round(target[0] / target[1], self.decimals) == 1:
            target = side, side
            if scaled[0] < side:  # not a mistake here: the trainer bends such a picture to a square
                scaled = side, side
        size = min(target[0], scaled[0]), min(target[1], scaled[1])
        middle = int((scaled[0] - size[0]) / 2), int((scaled[1] - size[1]) / 2)
        return Frame(
            original=original,
            cut=(0, 0, width, height),
            scaled=scaled,
            corner=(0, 0) if self.crop_style == "corner" else middle,
            size=size,
        )

    def _target(self, aspect: float, original: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """The bucket, and the size that the picture is scaled to before it is cut."""
        if self.unit == "pixel":
            return self._by_short_side(aspect, original)
        side = self._to_step(int(sqrt(self._megapixels * 1e6)))
        if aspect == 1:
            return (side, side), ((side, side) if original[0] == original[1] else original)
        target = self._to_step(side * sqrt(aspect)), self._to_step(side / sqrt(aspect))
        if target[0] < target[1]:
            scaled = target[0], int(target[0] / aspect)
        else:
            scaled = int(target[1] * aspect), target[1]
        if target[0] > scaled[0]:
            lacking = target[0] - scaled[0]
            scaled = scaled[0] + lacking, scaled[1] + int(lacking / aspect)
        elif target[1] > scaled[1]:
            lacking = target[1] - scaled[1]
            scaled = scaled[0] + int(lacking * aspect), scaled[1] + lacking
        return target, scaled

    def _by_short_side(self, aspect: float, original: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        short = int(self.resolution)
        scaled = (short, int(short / aspect)) if original[0] < original[1] else (int(short * aspect), short)
        target = self._to_step(scaled[0]), self._to_step(scaled[1])
        lacking = max(0, target[0] - scaled[0], target[1] - scaled[1])
        return target, (scaled[0] + lacking, scaled[1] + lacking)

    def _to_step(self, length: float) -> int:
        """The nearest multiple of a step, halves to the even one, at least one step."""
        return max(int(round(length / self.step) * self.step), self.step)


@lru_cache(maxsize=64)
def _most_pixels(rule: SimpleTuner) -> int:
    buckets = [rule.bucket(n / 100) for n in range(100 // MOST_ASPECT, 100 * MOST_ASPECT + 1)]
    return max(width * height for width, height in buckets)
