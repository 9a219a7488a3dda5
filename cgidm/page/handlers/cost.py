"""What the form says a run would cost, before it is started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cgidm.pictures.decoding import picture_size

from ..html.progress import cost_html
from ..html.views import View
from ..runs.cost import cost_of, count_parts
from ..runs.settings import UNUSED_THAT_COUNT, make_config
from ..runs.shipped_controls import controls_for
from .request import MAX_PICTURES, file_list, read_sent

HEADER = 1_000_000  # bytes, which hold the header of nearly every file


def cost_view(form: Mapping[str, Any], language: str) -> View:
    """State the cost of a run with what the form holds; nothing before there is a picture.

    With a bank, no controls are scored.
    """
    files = [path for path in file_list(form.get("picture")) if Path(path).is_file()]
    if not files or len(files) > MAX_PICTURES:
        return {"cost": ""}
    uneven = sum(map(_is_uneven, files))
    controls = len(file_list(form.get("controls"))) if form.get("unused") in UNUSED_THAT_COUNT else 0
    controls = controls or _shipped(form, files)
    config = make_config(form["preset"], 0, search=bool(form.get("search")), lineup=form.get("lineup"))
    bank, unrelated = bool(form.get("bank")), bool((form.get("unrelated") or "").strip())
    more = {"uneven": 0 if bank else uneven, "unrelated": unrelated and not bank}
    cost = cost_of(count_parts(len(files), 0 if bank else controls, config, **more))
    known = {"seconds": cost.seconds, "answer_seconds": cost.answer_seconds}
    return {"cost": cost_html(language, kind=cost.kind, gpu_seconds=cost.gpu_seconds, **known)}


def _shipped(form: Mapping[str, Any], files: list[str]) -> int:
    """How many control pictures ship with these very pictures."""
    suspect = "" if form.get("upload") else (form.get("suspect") or "").strip()
    return len(controls_for(suspect, map(read_sent, files))) if suspect else 0


def _is_uneven(path: str) -> bool:
    """Whether a picture is not square, by its file's header."""
    with Path(path).open("rb") as file:
        width, height = picture_size(file.read(HEADER))
    return width != height
