"""Presets with few draws and steps: for tests of all that happens around a score, where the score does not matter.

`python -m tests.support.quick_presets` is `python app.py` with them; with `--no-pages` its PDFs have none.
"""

import operator
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cgidm.method.config import PRESETS
from tests.support.paths import ROOT

DRAWS = 4  # of `loss_contrast`, instead of 20
MIRROR_DRAWS = 2  # instead of 24; no table of null scores has so few, so the mirror test has no p-value
STEPS = 20  # of `fast`, instead of 40, and of one draw instead of two
NO_PAGES = "--no-pages"


def use_few_draws(
    set_item: Callable[[Any, str, Any], object] = operator.setitem,
    *,
    mirror_draws: int = MIRROR_DRAWS,
    steps: int = STEPS,
    mirrored_recovery: bool = False,
) -> None:
    """Let `fast` and `paper` do less; `set_item` puts them there. With all of its draws the mirror test answers.

    `fast` recovers no mirror image, which would cost as much again, unless `mirrored_recovery` asks for it.
    """
    fast, paper = PRESETS["fast"], PRESETS["paper"]
    beside = {"mirrored_recovery": mirrored_recovery, "recovery": replace(fast.recovery, steps=steps, draws=1)}
    few = {"loss_draws": DRAWS, "mirror_draws": mirror_draws}
    set_item(PRESETS, "fast", replace(fast, **few, **beside))
    set_item(PRESETS, "paper", replace(paper, **few))


def leave_pages_out(set_attribute: Callable[[object, str, Any], object] = setattr) -> None:
    """Write PDFs without pages, which take a second each; `set_attribute` puts the writer there."""
    from cgidm.evidence import bundle_writer  # late: the page decides in which order libraries are read

    set_attribute(bundle_writer, "report_pdf", lambda *_: b"%PDF-1.4\n")


if __name__ == "__main__":
    use_few_draws(mirrored_recovery=True)
    if NO_PAGES in sys.argv:
        sys.argv.remove(NO_PAGES)
        leave_pages_out()
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
