"""What the form says a run would cost, before it is started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cgidm.pictures.decoding import picture_size

from ..html.progress import cost_html
from ..html.views import View
from ..runs.cost import cost_of
from ..runs.settings import make_config
from ..runs.shipped_controls import default_controls
from .request import file_list

HEADER = 1_000_000  # bytes, which hold the header of nearly every file


def cost_view(form: Mapping[str, Any], language: str) -> View:
    """State the cost of a run with what the form holds. With a bank, no controls are scored."""
    files = file_list(form.get("picture"))
    pictures, uneven = max(1, len(files)), sum(map(_is_uneven, files))
    controls = len(file_list(form.get("controls"))) or len(default_controls(form.get("suspect") or ""))
    config = make_config(form["preset"], 0, search=bool(form.get("search")), lineup=form.get("lineup"))
    bank, unrelated = bool(form.get("bank")), bool((form.get("unrelated") or "").strip())
    more = {"uneven": 0 if bank else uneven, "unrelated": unrelated and not bank}
    cost = cost_of(pictures, 0 if bank else controls, config, **more)
    known = {
        "evaluations": cost.evaluations,
        "seconds": cost.seconds,
        "kind": cost.kind,
        "gpu_seconds": cost.gpu_seconds,
    }
    return {"cost": cost_html(language, **known)}


def _is_uneven(path: str) -> bool:
    """Whether a picture is not square, by its file's header; a file that is gone is refused when the run begins."""
    try:
        with Path(path).open("rb") as file:
            width, height = picture_size(file.read(HEADER))
    except OSError:
        return False
    return width != height
