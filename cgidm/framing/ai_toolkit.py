"""How ai-toolkit frames a picture.

Source: https://github.com/ostris/ai-toolkit, `toolkit/buckets.py` (`get_bucket_for_image_size`),
`toolkit/dataloader_mixins.py` (`BucketsMixin.setup_buckets`), `toolkit/config_modules.py` (`DatasetConfig`).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf

from .frame import Frame, Resample
from .settings import LARGEST_SIDE, LARGEST_STEP, check_between, too_small

RULE = "ai_toolkit"
LYING = (  # the trainer's buckets at 1024, which lie on their side
    *((2048, 512), (1984, 512), (1920, 512), (1856, 512), (1792, 576), (1728, 576), (1664, 576), (1600, 640)),
    *((1536, 640), (1472, 704), (1408, 704), (1344, 704), (1344, 768), (1280, 768), (1216, 832), (1152, 832)),
    *((1152, 896), (1088, 896), (1088, 960), (1024, 960)),
)
UPRIGHT = tuple((short, long) for long, short in reversed(LYING) if (long, short) != (1344, 704))
SIZES_1024 = ((1024, 1024), *LYING, *UPRIGHT, (8192, 128), (128, 8192))  # the order decides between equals


@dataclass(frozen=True, kw_only=True)
class AiToolkit:
    """A picture goes to the bucket that loses the fewest pixels, is scaled to cover it, and loses what stands out.

    The buckets are a list for 1024, scaled to `resolution` and rounded down to a step. A picture with less area than
    the square of `resolution` gets the buckets of its own area instead: none is enlarged by much. A dataset with
    several resolutions is trained at each of them: each is a framing of its own.

    Attributes:
        resolution: root of the area, in pixels.
        step: what sides of buckets are multiples of (`bucket_tolerance`).
        square: whether pictures become squares of `resolution` instead (`square_crop`).
        random_crop: whether the part was chosen at random, once (`random_crop`); `frame` gives the middle.
        interpolation: the filter; the trainer's is bicubic.

    Raises:
        UserError: if a setting is out of bounds.
    """

    resolution: int = 512
    step: int = 64
    square: bool = False
    random_crop: bool = False
    interpolation: Resample = "bicubic"

    def __post_init__(self) -> None:
        check_between(RULE, "step", self.step, 1, LARGEST_STEP)
        check_between(RULE, "resolution", self.resolution, 1 if self.square else self.step, LARGEST_SIDE)

    @property
    def most_pixels(self) -> int:
        """The area of the largest bucket."""
        if self.square:
            return self.resolution**2
        return max(width * height for width, height in bucket_sizes(self.resolution, self.step))

    def frame(self, width: int, height: int) -> Frame:
        """The frame of a picture of this size.

        Raises:
            UserError: if the picture is so small that its bucket has no pixel.
        """
        if self.square:
            size = self.resolution, self.resolution
        else:
            own = int((width * height) ** 0.5)
            size = _least_loss(bucket_sizes(min(self.resolution, own), self.step), width, height)
            if not (size[0] and size[1]):
                raise too_small(RULE, width, height)
        scale = max(size[0] / width, size[1] / height)
        scaled = ceil(width * scale), ceil(height * scale)
        corner = int((scaled[0] - size[0]) / 2), int((scaled[1] - size[1]) / 2)
        if self.square:  # it is centred along the long side alone: rounding may leave a pixel on the short one
            corner = (corner[0], 0) if width > height else (0, corner[1])
        return Frame(
            original=(width, height),
            cut=(0, 0, width, height),
            scaled=scaled,
            corner=corner,
            size=size,
            resample=self.interpolation,
        )


@lru_cache(maxsize=512)
def bucket_sizes(resolution: int, step: int) -> tuple[tuple[int, int], ...]:
    """All buckets of a resolution, as width and height, in the trainer's order; some may have no pixel."""
    scale = resolution / 1024
    sides = [(int(width * scale), int(height * scale)) for width, height in SIZES_1024]
    return tuple((width - width % step, height - height % step) for width, height in sides)


def _least_loss(sizes: tuple[tuple[int, int], ...], width: int, height: int) -> tuple[int, int]:
    """The bucket of exactly this size, else the first one for which the fewest pixels are cut off."""
    if (width, height) in sizes:
        return width, height
    best, least = sizes[0], inf
    for size in sizes:
        scale = max(size[0] / width, size[1] / height)
        scaled = int(width * scale), int(height * scale)
        lost = (scaled[0] - size[0]) * scaled[1] + (scaled[1] - size[1]) * scaled[0]
        if lost < least:
            best, least = size, lost
    return best
