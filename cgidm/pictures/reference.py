"""The reference pictures that ship: freely licensed, by many hands, for the mirror test of any suspect."""

from ..framing.frame import Framing
from ..resources import reference_files
from .images import Picture, read_picture


def read_reference_pictures(framing: Framing | int) -> tuple[Picture, ...]:
    """Read them, framed as the pictures in question are: `read_picture`."""
    return tuple(read_picture(path, framing) for path in reference_files())
