"""Runs of the page in this process, on the shipped model, and what is left of them."""

import json

from page.request import Request
from page.visit import Run, Visit

from .page_client import SUSPECTS, pictures_of

STEPS = 5


def request(steps: float = STEPS, pictures: int = 1, **other) -> Request:
    """A wish that can be fulfilled in a second or two, unless `other` spoils it."""
    given = [str(p) for p in pictures_of(SUSPECTS[0], "member")[:pictures]]
    controls = [str(p) for p in pictures_of(SUSPECTS[0], "control")[:2]]
    models = {"suspect": f"shipped:{SUSPECTS[0]}", "upload": None, "base": "shipped:mini", "prompt": "sks style"}
    wish = {"pictures": given, "controls": controls, "preset": "fast", "seed": 3, "steps": steps, **models}
    return Request(**wish | other)


def new_run(steps: float = STEPS, pictures: int = 1) -> Run:
    """A run that has not begun."""
    wish = request(steps, pictures)
    wish.check()
    return wish.begin(Visit())


def found(run: Run) -> dict:
    """All that a finished run has found, to the last bit; only when it ended and how long it took may differ."""
    assert run.finished and not run.busy and not run.state_path.exists()
    record = json.loads((run.shown / "result.json").read_text())
    images = {p.name: p.read_bytes() for p in run.shown.glob("*.png")}
    assert len(images) == 3 * len(record["pictures"]) and (run.shown / "evidence.zip").is_file()
    return {"record": record | {"seconds": None, "date": None}, "images": images}
