"""Runs of the page in this process, on the shipped model, and what is left of them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cgidm.errors import UserError
from cgidm.messages import english
from cgidm.method.config import find_preset
from cgidm.page.handlers.request import FieldError, Request
from cgidm.page.html.markup import note_html
from cgidm.page.html.progress import error_html
from cgidm.page.runs.model_cache import RequestedModels, open_models
from cgidm.page.runs.settings import RunSettings
from cgidm.page.runs.store import Run, Sent, Visit
from cgidm.run.events import DECOYS, FILE, STATE
from tests.support.paths import SUSPECTS, pictures_of

STEPS = 5


def check_refused(view: dict[str, Any], field: str, wish: Request, code: str, **params: Any) -> None:
    """The view must hold the refusal of that code beside that field alone, and no run."""
    with pytest.raises(FieldError) as caught:
        wish.check()
    _check_error(caught.value, code, params)
    assert caught.value.field == field and view["pending"] == "" and "current" not in view
    said = {name: html for name, html in view.items() if name.startswith("error.") and html}
    assert said == {f"error.{field}": error_html(note_html(caught.value.note, "en"), "en")}


def _check_error(error: UserError, code: str, params: dict[str, Any]) -> None:
    assert error.code == code or code not in english(), f"{error.code}: {error}"
    found = {name: error.params.get(name) for name in params}
    assert found == params or code not in english()


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


def write_bank(path: Path, **changes) -> str:
    """A bank of four models that know their members alone, of the first suspect's pictures; unless spoilt."""
    base = open_models(RequestedModels("shipped:mini", f"shipped:{SUSPECTS[0]}")).base
    shown = [path for part in ("member", "holdout") for path in pictures_of(SUSPECTS[0], part)]
    pictures = [{"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in shown]
    models = []
    for number in range(4):
        trained_on = [i for i in range(20) if (i + number) % 2]
        scores = [0.05 + 0.001 * i if i in trained_on else -0.001 * (i + number) for i in range(20)]
        models.append(
            {
                "folder": f"{number}",
                "sha256": {},
                "trained_on": trained_on,
                "scores": scores,
                "shift": [0.05 * 2**number] * 20,
                "weight_shift": 0.05 * 2**number,
            }
        )
    bank = {
        "format": 2,
        "base": sorted(base.listing.sha256(file) for file in base.weights),
        "prompt": "sks style",
        "recipe": {"mode": "dreambooth"},
        "loss_draws": find_preset("fast").loss_draws,
        "seed": 3,
        "pictures": pictures,
        "models": models,
    }
    path.write_text(json.dumps(bank | changes))
    return str(path)


def broken_run(visitor: Visit) -> Run:
    """A run whose picture turns out to be none."""
    models = {"base": "shipped:mini", "suspect": f"shipped:{SUSPECTS[1]}", "prompt": ""}
    return visitor.begin(RunSettings(**models, preset="fast", seed=0, steps=1), [Sent("mine.png", b"none")])


def found(run: Run) -> dict:
    """All that a finished run has found, to the last bit; only when it ended and how long it took may differ."""
    assert run.is_finished and not run.is_locked
    assert not any((run.private_dir / name).exists() for name in (FILE, STATE, DECOYS))
    record = json.loads((run.public_dir / "result.json").read_text())
    images = {p.name: p.read_bytes() for p in run.public_dir.glob("*.png")}
    assert len(images) == 3 * len(record["pictures"]) and (run.public_dir / "evidence.zip").is_file()
    return {"record": record | {"seconds": None, "date": None}, "images": images}
