"""The reference pictures that ship: freely licensed, by many hands, for the mirror test of any suspect."""

from ..resources import reference_files
from .images import Picture, read_picture


def read_reference_pictures(resolution: int) -> tuple[Picture, ...]:
    """Read them as squares of `resolution` pixels."""
    return tuple(read_picture(path, resolution) for path in reference_files())
