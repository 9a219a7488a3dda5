"""Bounds of a rule's settings: they come from notes and records, which anyone can edit."""

from typing import Any

from ..errors import UserError
from ..messages.text import single_line
from .frame import Frame, Resample

LARGEST_SIDE = 16_384  # pixels; no trainer of today comes near
LEAST_STEP = 2
LARGEST_STEP = 1_024


def check_between(rule: str, setting: str, value: float, least: float, most: float) -> None:
    """Raise unless `least` <= `value` <= `most`.

    Raises:
        UserError: `framing.bad_number`.
    """
    if not least <= value <= most:
        given = single_line(str(value))
        raise UserError("framing.bad_number", rule=rule, setting=setting, least=least, most=most, given=given)


def check_choice(rule: str, setting: str, value: Any, accepted: tuple[Any, ...]) -> None:
    """Raise unless `value` is one of `accepted`.

    Raises:
        UserError: `framing.bad_choice`.
    """
    if value not in accepted:
        named = [str(a) for a in accepted]
        raise UserError(
            "framing.bad_choice", rule=rule, setting=setting, accepted=named, given=single_line(repr(value))
        )


def check_sides(rule: str, resolution: tuple[int, int], least: int = 1) -> None:
    """Raise unless both sides of `resolution` are `least` to `LARGEST_SIDE` pixels.

    Raises:
        UserError: `framing.bad_number`.
    """
    for length in resolution:
        check_between(rule, "resolution", length, least, LARGEST_SIDE)


def centred(original: tuple[int, int], scaled: tuple[int, int], size: tuple[int, int], resample: Resample) -> Frame:
    """The frame of a whole picture that is scaled, and of which the middle is kept; an odd pixel is lost below."""
    corner = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    told = tell(original, corner, size)
    cut = (0, 0, *original)
    return Frame(original=original, cut=cut, scaled=scaled, corner=corner, size=size, resample=resample, told=told)


def tell(
    original: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int, int, int, int]:
    """What a network of SDXL is told of a frame, heights before widths."""
    return (original[1], original[0], corner[1], corner[0], size[1], size[0])


def nearest(aspects: tuple[float, ...], aspect: float) -> int:
    """The index of the aspect that differs least from `aspect`; the first one of several."""
    return min(range(len(aspects)), key=lambda i: abs(aspects[i] - aspect))


def too_small(rule: str, width: int, height: int) -> UserError:
    """The error for a picture that the trainer could not have used: its bucket would have no pixel."""
    return UserError("framing.picture_too_small", rule=rule, width=width, height=height)
