"""What the buttons of the page do, for one picture and a portfolio alike: begin, go on, stop, show again, forget."""

import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from cgidm import UserError

from .answer import status_html
from .panel import token_of
from .request import Request
from .running import carry_out
from .show import View, empty_view, history_choices, moment_view, record_view, stopped_view
from .texts import language_of, say
from .visit import Visit

PATIENCE = 3.0  # seconds that Stop waits for a run to be put down


def begin(request: Request, token: str, several: bool, language: str) -> View:
    """See that a run can be done, and set it up; nothing is computed yet.

    Raises:
        gr.Error: with one sentence that says what was given and what is accepted.
    """
    try:
        request.check(fewest=2 if several else 1)
        run = request.begin(Visit(token))
    except UserError as error:
        raise gr.Error(str(error), title=say(language, "error.title")) from error
    return empty_view(status_html(language, "status.queue")) | {"current": run.name}


def go_on(token: str, current: str, several: bool, language: str, oauth_token: gr.OAuthToken | None) -> Generator[View]:
    """Carry a run out from where it stands, showing it. Closing the generator puts it down."""
    visit = Visit(token)
    run = visit.find(current)
    if run is None:
        raise gr.Error(say(language, "error.gone"), title=say(language, "error.title"))
    try:
        for moment in carry_out(run, token_of(oauth_token)):
            yield moment_view(run, moment, language)
    except UserError as error:
        yield {"progress": ""}
        raise gr.Error(str(error), title=say(language, "error.title")) from error
    yield {"history": gr.update(choices=history_choices(visit, language, several), value=None)}


def stop(token: str, current: str, several: bool, language: str) -> View:
    """What is left of a run that was just stopped; gradio has closed its generator, or is about to."""
    visit = Visit(token)
    run = visit.find(current)
    if run is None:
        return {}
    patience = time.monotonic() + PATIENCE
    while run.busy and time.monotonic() < patience:
        time.sleep(0.05)
    return show(token, current, several, language)


def show(token: str, current: str | None, several: bool, language: str) -> View:
    """A run of this visit as it stands, finished or put down."""
    visit = Visit(token)
    run = visit.find(current)
    if run is None:
        return {}
    view = record_view(run, language) if run.finished else stopped_view(run, language)
    return empty_view() | view | {"current": run.name, "history": _history(visit, language, several)}


def arrive(token: str | None, several: bool, language: str) -> View:
    """What a visitor finds: their last run, if it was put down before its end, and the list of all."""
    visit = Visit(token)
    last = next((r for r in visit.runs() if (len(r.asked["names"]["pictures"]) > 1) == several), None)
    view = stopped_view(last, language) | {"current": last.name} if last and not last.finished else {}
    return view | {"history": _history(visit, language, several)}


def forget(token: str, uploads: Sequence[str | None], language: str) -> View:
    """Delete a visit at once, and the copies of what was uploaded that the server took in."""
    Visit(token).forget()
    cache = Path(get_upload_folder()).resolve()
    for path in uploads:
        if path and cache in Path(path).resolve().parents:
            shutil.rmtree(Path(path).resolve().parent, ignore_errors=True)
    return empty_view(status_html(language, "forgotten")) | {
        "current": "",
        "history": gr.update(choices=[], value=None),
    }


def language_of_request(request: gr.Request | None) -> str:
    """The visitor's language, as their browser states it."""
    return language_of(request.headers.get("accept-language") if request else None)


def _history(visit: Visit, language: str, several: bool) -> dict[str, Any]:
    return gr.update(choices=history_choices(visit, language, several), value=None)
