"""Colour profiles: they are not applied, since no trainer applies them. A note says so where that changes colours."""

import io

import numpy as np
from PIL import Image, ImageCms

from ..messages import Note, note
from ..messages.text import single_line

MOST_BYTES = 4_000_000  # of a profile that is looked into
SMALL_CHANGE = 8  # of 255: what an sRGB profile of another maker changes at most
STEPS = np.linspace(0, 255, 6).round().astype(np.uint8)
OTHER_SPACES = ("CMYK", "LAB")  # of CMYK another note speaks; a profile of LAB says nothing
LONGEST = 60  # characters of a profile's name


def profile_notes(picture: Image.Image) -> list[Note]:
    """State that a colour profile of a picture was not applied; nothing if it is sRGB, or there is none.

    Args:
        picture: a picture of 8 bits, before it becomes RGB.
    """
    data = picture.info.get("icc_profile")
    if not isinstance(data, bytes) or not data or picture.mode in OTHER_SPACES:
        return []
    try:
        return _named(data, "L" if picture.mode in ("L", "LA", "1") else "RGB")
    except Exception:  # of a native library, fed with what a stranger wrote
        return [note("pictures.profile_unreadable")]


def _named(data: bytes, mode: str) -> list[Note]:
    if len(data) > MOST_BYTES:
        return [note("pictures.profile_unreadable")]
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    patches = _patches(mode)
    as_meant = ImageCms.profileToProfile(patches, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert as_meant is not None
    as_read = np.asarray(patches.convert("RGB")).astype(int)
    if np.abs(as_read - np.asarray(as_meant)).max() <= SMALL_CHANGE:
        return []
    name = single_line(ImageCms.getProfileDescription(profile), LONGEST)
    return [note("pictures.profile_not_applied", name=name or "?")]


def _patches(mode: str) -> Image.Image:
    """Colours all over the range of a mode."""
    if mode == "L":
        return Image.fromarray(STEPS[None])
    return Image.fromarray(np.stack(np.meshgrid(STEPS, STEPS, STEPS), -1).reshape(1, -1, 3))
