"""How musubi-tuner frames a picture: a variant of kohya's rule.

Source: https://github.com/kohya-ss/musubi-tuner, `src/musubi_tuner/dataset/bucket.py` (`BucketSelector`),
`src/musubi_tuner/dataset/media_utils.py` (`resize_image_to_bucket`).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

from .frame import Frame
from .settings import LARGEST_SIDE, LARGEST_STEP, LEAST_STEP, centred, check_between, check_sides, nearest, too_small

RULE = "musubi"


@dataclass(frozen=True, kw_only=True)
class Musubi:
    """A picture goes to the bucket of the nearest aspect, is scaled to cover it, and loses what stands out.

    The shorter sides of buckets run in steps from half the root of the area to its root; the other side is the largest
    one in steps that keeps to the area. With `no_upscale`, a picture within the area loses what is over a step, and is
    scaled the little that the bucket still covers.

    Attributes:
        resolution: width and height whose area no bucket exceeds; the one size without buckets.
        buckets: whether there are buckets (`enable_bucket`, off unless it is set).
        step: what sides of buckets are multiples of; the trainer sets it by the model, 16 for all that it trains.
        no_upscale: whether small pictures keep their size (`bucket_no_upscale`).

    Raises:
        UserError: if a setting is out of bounds.
    """

    resolution: tuple[int, int]
    buckets: bool = True
    step: int = 16
    no_upscale: bool = False

    def __post_init__(self) -> None:
        check_sides(RULE, self.resolution)
        if self.buckets:
            check_between(RULE, "step", self.step, LEAST_STEP, LARGEST_STEP)
            # below, half the root of the area holds no step, and the trainer would divide by 0
            check_between(RULE, "resolution", isqrt(self._area), 2 * self.step, LARGEST_SIDE)

    @property
    def _area(self) -> int:
        return self.resolution[0] * self.resolution[1]

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """All buckets, as width and height; with `no_upscale`, small pictures make further ones."""
        return bucket_sizes(self._area, self.step) if self.buckets else (self.resolution,)

    @property
    def most_pixels(self) -> int:
        """The area of the largest bucket."""
        largest = max(width * height for width, height in self.sizes)
        return max(largest, self._area) if self.no_upscale else largest

    def frame(self, width: int, height: int) -> Frame:
        """The frame of a picture of this size.

        Raises:
            UserError: if the picture is smaller than a step, which has a meaning with `no_upscale` alone.
        """
        if self.buckets and self.no_upscale and width * height <= self._area:
            size = width - width % self.step, height - height % self.step
            if not (size[0] and size[1]):
                raise too_small(RULE, width, height)
        else:
            sizes = self.sizes
            size = sizes[nearest(tuple(w / h for w, h in sizes), width / height)]
        scale = max(size[0] / width, size[1] / height)
        scaled = int(width * scale + 0.5), int(height * scale + 0.5)
        return centred((width, height), scaled, size, "lanczos" if scale > 1 else "area")


@lru_cache(maxsize=64)
def bucket_sizes(area: int, step: int) -> tuple[tuple[int, int], ...]:
    """All buckets of an area, in ascending order."""
    root = isqrt(area)
    least = root // 2 - root // 2 % step
    found: set[tuple[int, int]] = set()
    for short in range(least, root + step, step):
        other = area // short - area // short % step
        found |= {(short, other), (other, short)}
    return tuple(sorted(found))
