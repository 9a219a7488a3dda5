"""The preset `fast` with few draws: for tests of all that happens around a score, where the score does not matter.

`python -m tests.support.quick_presets` is `python app.py` with it.
"""

import runpy
from dataclasses import replace

from cgidm.method.config import PRESETS
from tests.support.paths import ROOT

QUICK = replace(PRESETS["fast"], loss_draws=4)


def main() -> None:
    """Serve the page."""
    PRESETS["fast"] = QUICK
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")


if __name__ == "__main__":
    main()
