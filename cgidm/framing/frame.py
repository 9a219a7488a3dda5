"""A frame: which part of a picture a trainer's network sees, and at which size."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Resample = Literal["box", "bilinear", "bicubic", "lanczos", "area"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What becomes of a picture: a part is cut out, that is scaled, and of that the network sees a part.

    All pairs are width, then height, or left, then top; all are pixels.

    Attributes:
        original: the picture as its file holds it, turned upright.
        cut: what is kept before scaling: left, top, width, height; the whole picture, for most trainers.
        scaled: the size that `cut` is scaled to.
        corner: where `size` lies in what was scaled.
        size: what the network sees.
        resample: the filter that scales.
        told: what a trainer of SDXL tells the network: height and width of the original, top and left of the part, and
            its height and width; None: as of a whole picture of `size`.
    """

    original: tuple[int, int]
    cut: tuple[int, int, int, int]
    scaled: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    size: tuple[int, int]
    resample: Resample = "lanczos"
    told: tuple[int, int, int, int, int, int] | None = None

    @property
    def size_conditions(self) -> tuple[int, int, int, int, int, int]:
        """What an SDXL network is told of the frame."""
        width, height = self.size
        return self.told or (height, width, 0, 0, height, width)

    @property
    def lost(self) -> float:
        """The share of the picture that the network does not see."""
        width, height = self.original
        _, _, cut_width, cut_height = self.cut
        kept = cut_width * cut_height * (self.size[0] * self.size[1]) / (self.scaled[0] * self.scaled[1])
        return 1 - kept / (width * height)


@runtime_checkable
class Framing(Protocol):
    """A trainer's rule, with its settings."""

    def frame(self, width: int, height: int) -> Frame:
        """The frame of a picture of this size."""
        ...

    @property
    def most_pixels(self) -> int:
        """The largest area of a frame."""
        ...


@dataclass(frozen=True, kw_only=True)
class CentreSquare:
    """The centre square, scaled to `resolution` pixels."""

    resolution: int

    def frame(self, width: int, height: int) -> Frame:
        """The largest square in the middle of the picture."""
        short = min(width, height)
        cut = (width - short) // 2, (height - short) // 2, short, short
        return Frame(
            original=(width, height),
            cut=cut,
            scaled=(self.resolution, self.resolution),
            size=(self.resolution, self.resolution),
        )

    @property
    def most_pixels(self) -> int:
        """The square's area."""
        return self.resolution**2
