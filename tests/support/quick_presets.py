"""Presets with few draws and steps: for tests of all that happens around a score, where the score does not matter.

`python -m tests.support.quick_presets` is `python app.py` with them.
"""

import operator
import runpy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cgidm.method.config import PRESETS
from tests.support.paths import ROOT

DRAWS = 4  # of `loss_contrast`, instead of 20
MIRROR_DRAWS = 2  # instead of 24; no table of null scores has so few, so the mirror test has no p-value
STEPS = 20  # of `fast`, instead of 40


def use_few_draws(set_item: Callable[[Any, str, Any], object] = operator.setitem) -> None:
    """Let `fast` and `paper` do less; `set_item` puts them there."""
    fast, paper = PRESETS["fast"], PRESETS["paper"]
    few = {"loss_draws": DRAWS, "mirror_draws": MIRROR_DRAWS}
    set_item(PRESETS, "fast", replace(fast, **few, recovery=replace(fast.recovery, steps=STEPS)))
    set_item(PRESETS, "paper", replace(paper, **few))


if __name__ == "__main__":
    use_few_draws()
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
