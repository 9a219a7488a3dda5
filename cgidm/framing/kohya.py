"""How kohya's sd-scripts, and its interfaces kohya_ss and fluxgym, frame a picture.

Source: https://github.com/kohya-ss/sd-scripts, `library/train_util.py` (`BucketManager`, `make_buckets`,
`trim_and_resize_if_required`), `library/model_util.py` (`make_bucket_resolutions`), `library/utils.py`
(`resize_image`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import sqrt

from ..errors import UserError
from .frame import Frame, Resample
from .settings import (
    LARGEST_SIDE,
    LARGEST_STEP,
    LEAST_STEP,
    centred,
    check_between,
    check_sides,
    nearest,
    tell,
    too_small,
)

RULE = "kohya"


@dataclass(frozen=True, kw_only=True)
class Kohya:
    """A picture goes to the bucket of the nearest aspect, is scaled to cover it, and what stands out is cut off.

    Buckets have widths in steps; the height is the largest one in steps that keeps to the area of `resolution`. A
    picture that has the size of a bucket stays as it is. With `no_upscale` there is no list of buckets: a picture that
    is larger than the area is scaled down to it, a smaller one is not scaled, and both lose what is over a step.

    Attributes:
        resolution: width and height whose area no bucket exceeds (`--resolution`); the one size without buckets.
        buckets: whether there are buckets (`--enable_bucket`, which the scripts leave off and kohya_ss turns on).
        least_side: the shortest side of a bucket, rounded down to a step (`--min_bucket_reso`).
        most_side: the longest side of a bucket, rounded up to a step (`--max_bucket_reso`).
        step: what sides of buckets are multiples of (`--bucket_reso_steps`).
        no_upscale: whether pictures are scaled down alone (`--bucket_no_upscale`); without buckets it has no meaning.
        random_crop: whether the part was chosen anew each time (`--random_crop`); `frame` gives the middle.
        interpolation: the filter (`--resize_interpolation`); None: area to scale down, Lanczos to scale up.

    Raises:
        UserError: if the trainer would refuse these settings.
    """

    resolution: tuple[int, int]
    buckets: bool = True
    least_side: int = 256
    most_side: int = 1024
    step: int = 64
    no_upscale: bool = False
    random_crop: bool = False
    interpolation: Resample | None = None

    def __post_init__(self) -> None:
        check_sides(RULE, self.resolution)
        if self.buckets:
            check_between(RULE, "step", self.step, LEAST_STEP, LARGEST_STEP)
            check_between(RULE, "least_side", self.least_side, 1, LARGEST_SIDE)
            check_between(RULE, "most_side", self.most_side, 1, LARGEST_SIDE)
            shortest, longest = min(self.resolution), max(self.resolution)
            if not self.step <= self.least_side <= shortest <= longest <= self.most_side:
                raise UserError(
                    "framing.bucket_sides",
                    resolution=list(self.resolution),
                    step=self.step,
                    least=self.least_side,
                    most=self.most_side,
                )

    @property
    def sizes(self) -> tuple[tuple[int, int], ...] | None:
        """All buckets, as width and height; None with `no_upscale`, where pictures make them."""
        if not self.buckets:
            return (self.resolution,)
        return None if self.no_upscale else bucket_sizes(self.resolution, self.least_side, self.most_side, self.step)

    @property
    def most_pixels(self) -> int:
        """The area of the largest bucket; with `no_upscale`, what none exceeds by more than the rounding of sides."""
        sizes = self.sizes
        if sizes is None:
            area = self.resolution[0] * self.resolution[1]
            return area + area // (self.step - 1) + self.step
        return max(width * height for width, height in sizes)

    def frame(self, width: int, height: int) -> Frame:
        """The frame of a picture of this size.

        Without buckets and with `random_crop`, pictures are not scaled: the part is cut out of them as they are.

        Raises:
            UserError: if the picture is so small that its bucket has no pixel, which `no_upscale` makes possible.
        """
        sizes = self.sizes
        if sizes is None:
            return self._shrunk(width, height)
        unscaled = not self.buckets and self.random_crop
        if unscaled and width >= self.resolution[0] and height >= self.resolution[1]:
            return self._framed(width, height, (width, height), self.resolution)
        aspect = width / height
        size = (width, height)
        if size not in sizes:
            size = sizes[nearest(tuple(w / h for w, h in sizes), aspect)]
        scale = size[1] / height if aspect > size[0] / size[1] else size[0] / width
        return self._framed(width, height, (_rounded(width * scale), _rounded(height * scale)), size)

    def _shrunk(self, width: int, height: int) -> Frame:
        """The frame with `no_upscale`."""
        aspect, area = width / height, self.resolution[0] * self.resolution[1]
        scaled = width, height
        if width * height > area:
            exact = sqrt(area * aspect)
            by_width, by_height = self._to_step(exact), self._to_step(area / exact)
            height_of_width, width_of_height = self._to_step(by_width / aspect), self._to_step(by_height * aspect)
            if not (by_height and height_of_width):
                raise too_small(RULE, width, height)
            # of the two sides, the one is made a multiple whose rounding of the other bends the aspect less
            if abs(by_width / height_of_width - aspect) < abs(width_of_height / by_height - aspect):
                scaled = by_width, _rounded(by_width / aspect)
            else:
                scaled = _rounded(by_height * aspect), by_height
        size = scaled[0] - scaled[0] % self.step, scaled[1] - scaled[1] % self.step
        if not (size[0] and size[1]):
            raise too_small(RULE, width, height)
        return self._framed(width, height, scaled, size)

    def _to_step(self, length: float) -> int:
        whole = _rounded(length)
        return whole - whole % self.step

    def _framed(self, width: int, height: int, scaled: tuple[int, int], size: tuple[int, int]) -> Frame:
        usual: Resample = "area" if width >= scaled[0] and height >= scaled[1] else "lanczos"
        frame = centred((width, height), scaled, size, self.interpolation or usual)
        return replace(frame, told=tell((width, height), _told_corner((width, height), size), size))


@lru_cache(maxsize=64)
def bucket_sizes(resolution: tuple[int, int], least: int, most: int, step: int) -> tuple[tuple[int, int], ...]:
    """All buckets of an area, in ascending order: from `least` to `most` pixels of width and of height.

    `least` is rounded down to a step and `most` up, as the scripts do since 2025. Before autumn 2023 they took a height
    below `least` as well.
    """
    area = resolution[0] * resolution[1]
    least -= least % step
    most += -most % step
    square = int(sqrt(area) // step) * step
    found = {(square, square)}
    for width in range(least, most + 1, step):
        height = min(most, area // width // step * step)
        if height >= least:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def _told_corner(picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The corner that the network of SDXL is told (`BucketManager.get_crop_ltrb`).

    It is that of the whole picture within its bucket, as if the picture had been padded and not cut.
    """
    aspect = picture[0] / picture[1]
    if size[0] / size[1] > aspect:
        return int((size[0] - size[1] * aspect) // 2), 0
    return 0, int((size[1] - size[0] / aspect) // 2)


def _rounded(length: float) -> int:
    """Halves go up."""
    return int(length + 0.5)
