"""What a recipe makes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Given:
    """An input of a case.

    Attributes:
        path: what is named on the command line.
        meant: what it means: the pipeline that a suspect is, or the picture that a file shows (Pillow's).
    """

    path: Path
    meant: Any = None


Recipe = Callable[..., Given]  # (an empty folder, **parameters)
