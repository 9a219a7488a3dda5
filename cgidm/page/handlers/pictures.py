"""What the visitor's pictures are, while they arrive: which can be read, and which part of each will be looked at."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from cgidm import UserError
from cgidm.framing.frame import CentreSquare, Frame
from cgidm.intake.likely_framing import likely_framing
from cgidm.pictures.decoding import decode_pixels

from ..html.pictures import LookedAt, control_count_html, looked_at_html
from ..html.views import View
from ..runs.thumbnails import THUMBNAIL_SIZE, draw_frames
from .request import MAX_CONTROLS, MAX_PICTURES, check_not_blank, file_list, read_sent

RESOLUTIONS = {"SD 1.x": 512, "SD 2.x": 768, "SDXL": 1024}  # family -> side of the square that its base was made for
USUAL_RESOLUTION = 512
MOST_THUMBNAILS = 64  # thumbnails of pictures that were just looked at


@dataclass(frozen=True)
class _Look:
    """A picture that was decoded once."""

    small: Image.Image | None
    size: tuple[int, int]
    error: UserError | None
    digest: str = ""  # SHA-256 of the file


@dataclass(frozen=True, eq=False, kw_only=True)
class KnownFraming:
    """What the check of a suspect tells of how its training framed pictures."""

    metadata: Mapping[str, str]
    resolution: int = USUAL_RESOLUTION

    def frames(self, width: int, height: int) -> list[Frame]:
        """The parts of a picture of this size that are looked at: one, or the centre square as well."""
        likely = likely_framing(self.metadata, self.resolution)
        frames = [likely.framing.frame(width, height)]
        if likely.guessed and width != height:
            frames.append(CentreSquare(resolution=self.resolution).frame(width, height))
        return frames


def look_at_pictures(files: Any, framing: KnownFraming | None, language: str) -> View:
    """Show the pictures that arrived, what is wrong with those that cannot be used, and how many there may be."""
    framing = framing or KnownFraming(metadata={})
    seen, digests = [], set()
    for path in file_list(files):
        look = _look(path, _changed(path))
        boxes = framing.frames(*look.size) if look.small is not None else []
        url = None if look.small is None else draw_frames(look.small, boxes)
        lost = boxes[0].lost if boxes else 0.0
        note = None if look.error is None else look.error.note
        again = bool(look.digest) and look.digest in digests
        digests.add(look.digest)
        name = Path(path).name
        seen.append(LookedAt(name=name, url=url, size=look.size, lost=lost, refused=note, again=again))
    return {"seen": looked_at_html(seen, MAX_PICTURES, language)}


def readable(files: Sequence[str]) -> list[str]:
    """The files that are pictures; all of them if none is, so that the refusal names one."""
    return [path for path in files if _look(path, _changed(path)).error is None] or list(files)


def count_controls(files: Any, language: str) -> View:
    """Say how many of the control pictures that are needed are there."""
    return {"control_count": control_count_html(len(file_list(files)), MAX_CONTROLS, language)}


def forget_looks() -> None:
    """Forget all thumbnails."""
    _look.cache_clear()


def _changed(path: str) -> int:
    file = Path(path)
    return file.stat().st_mtime_ns if file.is_file() else 0


@lru_cache(maxsize=MOST_THUMBNAILS)
def _look(path: str, changed: int) -> _Look:
    try:
        sent = read_sent(path)
        picture, _, _ = decode_pixels(sent.data, sent.name)
        check_not_blank(picture, sent.name)
    except FileNotFoundError:
        return _Look(None, (0, 0), UserError("pictures.missing", path=Path(path).name))
    except UserError as error:
        return _Look(None, (0, 0), error)
    size = picture.size
    picture.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    return _Look(picture, size, None, hashlib.sha256(sent.data).hexdigest())
