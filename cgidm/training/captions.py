"""The caption of a training picture: the text file beside it, as kohya's scripts and most other trainers read it."""

from pathlib import Path

from ..errors import UserError
from ..messages.text import single_line

SUFFIXES = (".txt", ".caption")
MOST_BYTES = 20_000


def read_caption(picture: Path) -> str:
    """Read the caption of a picture, in one line.

    Raises:
        UserError: if there is no text file beside it, or what it holds is no caption.
    """
    file = next((f for suffix in SUFFIXES if (f := picture.with_suffix(suffix)).is_file()), None)
    if file is None:
        raise UserError("training.no_caption", path=str(picture), suffixes=list(SUFFIXES))
    with file.open("rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    try:
        text = single_line(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > MOST_BYTES:
        raise UserError("training.caption_unreadable", path=str(file), most=MOST_BYTES)
    return text
