"""What the form says a run would cost, before it is started."""

from collections.abc import Mapping
from typing import Any

from ..html.progress import cost_html
from ..html.views import View
from ..runs.cost import cost_of
from ..runs.settings import make_config
from ..runs.shipped_controls import default_controls
from .request import file_list


def cost_view(form: Mapping[str, Any], language: str) -> View:
    """State the cost of a run with what the form holds. With a bank, no controls are scored."""
    pictures = max(1, len(file_list(form.get("picture"))))
    controls = len(file_list(form.get("controls"))) or len(default_controls(form.get("suspect") or ""))
    config = make_config(form["preset"], 0, search=bool(form.get("search")), lineup=form.get("lineup"))
    bank, unrelated = bool(form.get("bank")), bool((form.get("unrelated") or "").strip())
    cost = cost_of(pictures, 0 if bank else controls, config, unrelated=unrelated and not bank)
    known = {
        "evaluations": cost.evaluations,
        "seconds": cost.seconds,
        "kind": cost.kind,
        "gpu_seconds": cost.gpu_seconds,
    }
    return {"cost": cost_html(language, **known)}
