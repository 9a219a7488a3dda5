"""The form and the answer beside it: filled in again from a run, and told apart where they do not belong together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..html.progress import stale_html
from ..html.views import View
from ..runs.settings import UNUSED_THAT_COUNT
from ..runs.store import Run, Visit
from .examples import EXAMPLE, example_form
from .request import file_list

SETTINGS = ("base", "prompt", "preset", "seed", "search", "lineup", "unrelated")


def form_view(run: Run) -> View:
    """Fill the form as it was when a run was begun. Files come back from what the run keeps."""
    settings = run.settings
    controls = run.files("controls") if settings.unused in UNUSED_THAT_COUNT else []
    return {
        "suspect": settings.suspect,
        "upload": run.files("suspect") or None,
        "picture": run.files("pictures"),
        "unused": settings.unused,
        "controls": controls or None,
        "bank": next(iter(run.files("bank")), None),
        **{name: getattr(settings, name) for name in SETTINGS},
        "lineup": int(settings.lineup or 0),
    }


def stale_view(form: Mapping[str, Any], token: str | None, current: str | None, language: str) -> View:
    """Say whether the answer that is shown belongs to other settings than those of the form."""
    answered = answered_form(token, current)
    same = answered is None or _comparable(form) == _comparable(answered)
    return {"stale": "" if same else stale_html(language)}


def answered_form(token: str | None, current: str | None) -> View | None:
    """Return the form of the answer that is shown, of a run or an example; None if there is none."""
    if current and current.startswith(EXAMPLE):
        return example_form(current.removeprefix(EXAMPLE))
    run = Visit(token).find(current)
    return None if run is None else form_view(run)


def _comparable(form: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two forms must have in common; files are compared by name and size."""
    unused = form.get("unused") or "none"
    files = [_files(form.get(name)) for name in ("upload", "picture", "bank")]
    controls = _files(form.get("controls")) if unused in UNUSED_THAT_COUNT else []
    suspect = "" if form.get("upload") else (form.get("suspect") or "").strip()
    values = [str(form.get(name) or "").strip() for name in SETTINGS]
    seed = float(form.get("seed") or 0)
    return suspect, files, controls, unused, [v for n, v in zip(SETTINGS, values, strict=True) if n != "seed"], seed


def _files(value: Any) -> list[tuple[str, int]]:
    paths = [Path(path) for path in file_list(value)]
    return sorted((path.name, path.stat().st_size if path.is_file() else 0) for path in paths)
