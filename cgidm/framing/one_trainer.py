"""How OneTrainer frames a picture.

Source: https://github.com/Nerogar/mgds, `src/mgds/pipelineModules/AspectBucketing.py`, `SingleAspectCalculation.py`,
`ScaleCropImage.py`; https://github.com/Nerogar/OneTrainer, `modules/dataLoader/` (the step of each model),
`modules/util/config/ConceptConfig.py` (defaults).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

from .frame import Frame
from .settings import LARGEST_SIDE, LARGEST_STEP, LEAST_STEP, centred, check_between, check_sides, nearest

RULE = "one_trainer"
LONG_SIDES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)  # of the buckets, in short sides


@dataclass(frozen=True, kw_only=True)
class OneTrainer:
    """A picture goes to the bucket of the nearest aspect, is scaled to cover it, and loses what stands out.

    The buckets have nine aspects from 1:1 to 1:4, upright and lying, with the area of the square of `resolution`; sides
    are rounded to the nearest step, halves to an even number of steps. Without buckets there is the square alone. When
    the trainer is given several resolutions, it draws one for each picture: each is a framing of its own.

    Attributes:
        resolution: root of the area, in pixels.
        exact_size: width and height, where the trainer is given "832x1216"; then `resolution` has no meaning.
        buckets: whether there are buckets (`aspect_ratio_bucketing`).
        step: what sides of buckets are multiples of; the trainer sets it by the model: 8 for Stable Diffusion 1 and 2,
            64 for SDXL, FLUX.1 and most others.
        random_crop: whether the part was chosen at random (`enable_crop_jitter`); `frame` gives the middle.

    Raises:
        UserError: if a setting is out of bounds.
    """

    resolution: int = 512
    exact_size: tuple[int, int] | None = None
    buckets: bool = True
    step: int = 64
    random_crop: bool = True

    def __post_init__(self) -> None:
        check_between(RULE, "step", self.step, LEAST_STEP, LARGEST_STEP)
        # up to a step, the short side of the longest bucket would be rounded to 0
        check_between(RULE, "resolution", self.resolution, self.step + 1 if self.buckets else 1, LARGEST_SIDE)
        if self.exact_size is not None:
            check_sides(RULE, self.exact_size, self.step)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """All buckets, as width and height, in the trainer's order."""
        if not self.buckets:
            return ((self.resolution, self.resolution),)
        if self.exact_size is not None:
            return (_to_steps(self.exact_size, self.step),)
        return bucket_sizes(self.resolution, self.step)

    @property
    def most_pixels(self) -> int:
        """The area of the largest bucket."""
        return max(width * height for width, height in self.sizes)

    def frame(self, width: int, height: int) -> Frame:
        """The frame of a picture of this size."""
        sizes, steepness = self.sizes, height / width
        size = sizes[nearest(tuple(h / w for w, h in sizes), steepness)]
        if steepness > size[1] / size[0]:
            scaled = size[0], round(height * (size[0] / width))
        else:
            scaled = round(width * (size[1] / height)), size[1]
        return centred((width, height), scaled, size, "bilinear")


@lru_cache(maxsize=64)
def bucket_sizes(resolution: int, step: int) -> tuple[tuple[int, int], ...]:
    """All buckets of a resolution, as width and height.

    The trainer holds them, height first, in a set, and takes the first of two that are as near: the order of the set
    is kept, which Python gives alike on every machine, since the hash of a pair of numbers has no seed.
    """
    upright = [(1 / sqrt(long) * resolution, long / sqrt(long) * resolution) for long in LONG_SIDES]
    both = [*upright, *((second, first) for first, second in upright)]
    return tuple((width, height) for height, width in list({_to_steps(pair, step) for pair in both}))


def _to_steps(pair: tuple[float, float], step: int) -> tuple[int, int]:
    return round(pair[0] / step) * step, round(pair[1] / step) * step
