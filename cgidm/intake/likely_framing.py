"""How a suspect's pictures were framed, for a run: as its file notes, or as most trainers do.

Of LoRAs without notes most were made in aspect-ratio buckets: kohya_ss, Civitai's trainer, OneTrainer, ai-toolkit and
SimpleTuner use them unless told otherwise. The scripts of diffusers look at squares. So where nothing is noted, both
are looked at.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from ..errors import UserError
from ..framing.frame import CentreSquare, Framing
from ..framing.kohya import Kohya
from .framing_notes import read_framing

LARGEST_SHARE = 4  # times the area that the base was made for; a training at a larger one is not believed
MOST_PIXELS = 2048**2  # where the base is not known
TRIED = ((2048, 2048), (1365, 2048), (2048, 1365), (900, 2048), (2048, 900))  # pictures that a framing is tried on


class LikelyFraming(NamedTuple):
    """A framing, and whether the file's notes do not say so."""

    framing: Framing
    guessed: bool


def likely_framing(metadata: Mapping[str, str], resolution: int, multiple: int = 8) -> LikelyFraming:
    """Choose how pictures are framed for a suspect.

    Args:
        metadata: the notes of its file.
        resolution: side of the square that the base was made for, in pixels.
        multiple: what sides must be multiples of, for the autoencoder.
    """
    noted = noted_framing(metadata, LARGEST_SHARE * resolution**2, multiple)
    return LikelyFraming(usual_buckets(resolution), True) if noted is None else LikelyFraming(noted, False)


def noted_framing(metadata: Mapping[str, str], most_pixels: int = MOST_PIXELS, multiple: int = 8) -> Framing | None:
    """The first framing that a file notes and a run can use; None if there is none.

    Args:
        metadata: the notes.
        most_pixels: of a frame; a training at a larger size is not believed.
        multiple: see `likely_framing`.
    """
    framings = (_in_whole_cells(framing, multiple) for framing in read_framing(metadata).framings or ())
    return next((framing for framing in framings if can_be_used(framing, most_pixels, multiple)), None)


def _in_whole_cells(framing: Framing, multiple: int) -> Framing:
    """A single size, without what is over a whole latent cell: the trainer's autoencoder leaves that out."""
    if not isinstance(framing, Kohya) or framing.buckets:
        return framing
    width, height = (side - side % multiple for side in framing.resolution)
    try:
        return replace(framing, resolution=(width, height))
    except UserError:
        return framing


def usual_buckets(resolution: int) -> Framing:
    """The buckets of kohya's interfaces at a resolution; the centre square, where it is too small for any.

    The filter is Lanczos, as of everything else that is not noted: a square picture is the same by either framing.
    """
    step = max(16, min(64, resolution // 8))  # a transformer takes two latent cells, of eight pixels, at once
    try:
        return Kohya(
            resolution=(resolution, resolution),
            least_side=resolution // 2,
            most_side=2 * resolution,
            step=step,
            interpolation="lanczos",
        )
    except UserError:
        return CentreSquare(resolution=resolution)


def can_be_used(framing: Framing, most_pixels: int, multiple: int = 8) -> bool:
    """Whether frames are no larger than what is believed, and have sides that the autoencoder takes."""
    if framing.most_pixels > most_pixels:
        return False
    try:
        sizes = [framing.frame(*size).size for size in TRIED]
    except UserError:
        return False
    return all(length % multiple == 0 for size in sizes for length in size)
