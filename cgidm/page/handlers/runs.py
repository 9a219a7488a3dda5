"""What the buttons of the page do: begin, go on, stop, show again, forget."""

import shutil
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import gradio as gr

from cgidm import UserError

from ..html.i18n import known_language
from ..html.markup import html_text, note_html
from ..html.progress import error_html, status_html
from ..html.views import (
    View,
    busy_view,
    empty_view,
    event_view,
    history_view,
    idle_view,
    record_view,
    stopped_view,
)
from ..runs.background import follow_run, is_going_on, runs_go_on_alone, stop_run
from ..runs.download_cache import bytes_needed, fetch_models
from ..runs.runner import check_bank_fits, open_run_models
from ..runs.store import Run, Visit
from .form import form_view
from .pictures import forget_looks
from .request import FieldError, Request
from .uploads import upload_folder
from .visitor import key_view, visitor_key, visitor_token

PATIENCE = 10.0  # seconds that Stop waits for a run to be put down
FIELDS = ("suspect", "base", "pictures", "controls", "bank", "unrelated", "settings")  # that a refusal stands beside


def begin(request: Request, token: str, language: str) -> View:
    """See that a run can be done, and set it up; nothing is computed yet.

    What cannot be used is said beside its field; then `pending`, the run to be carried out, is empty.
    """
    clear: View = {f"error.{field}": "" for field in FIELDS}
    try:
        request.check()
        run = replace(request, language=known_language(language)).begin(Visit(token))
    except FieldError as error:
        return clear | {f"error.{error.field}": error_html(note_html(error.note, language), language), "pending": ""}
    return (
        clear
        | empty_view(status_html(language, "status.queue"))
        | busy_view()
        | {"current": run.name, "pending": run.name}
    )


def fetch(
    token: str, pending: str, language: str, oauth_token: gr.OAuthToken | None, civitai_key: str | None = None
) -> Generator[View]:
    """Download the models of a run, if need be, while others use the GPU.

    The visitor's key for Civitai goes no further than here: the run itself opens what was downloaded.
    """
    run = Visit(token).find(pending)
    if run is None:
        return
    try:
        key = visitor_key(civitai_key)
        models = open_run_models(run, visitor_token(oauth_token), key)
        gigabytes = round(bytes_needed(*models) / 1e9, 1)
        if gigabytes or key:  # what a key is needed for, however small: the run has none
            pool = ThreadPoolExecutor(1)
            download = pool.submit(fetch_models, *models)
            pool.shutdown(wait=False)  # if the visitor leaves, the download ends by itself, for the next one
            while not download.done():
                yield {"progress": status_html(language, "status.fetching", gb=gigabytes)}
                wait([download], timeout=1)
            download.result()
        check_bank_fits(run, models[0])
    except UserError as error:
        yield refused_view(error, language) | key_view(error) | {"pending": ""}
        return
    yield {"progress": status_html(language, "status.queue")}


def go_on(token: str | None, pending: str | None, language: str, oauth_token: gr.OAuthToken | None) -> Generator[View]:
    """Carry a run out from where it stands, or watch it. Closing the generator puts it down on ZeroGPU alone."""
    visit = Visit(token)
    if not pending:
        return
    run = visit.find(pending)
    if run is None:
        yield {"progress": error_html(html_text(language, "error.gone"), language)} | idle_view()
        return
    yield busy_view()
    try:
        with closing(follow_run(run, visitor_token(oauth_token))) as events:
            for event in events:
                yield {} if event is None else event_view(run, event, language)
    except UserError as error:
        yield refused_view(error, language)
        return
    yield {"history": history_view(visit, language, run.name)}


def refused_view(error: UserError, language: str) -> View:
    """Say why a run cannot go on, where its progress would stand."""
    return {"progress": error_html(note_html(error.note, language), language)} | idle_view()


def stop(token: str | None, current: str, language: str) -> View:
    """Put a run down, and show what is left of it."""
    run = Visit(token).find(current)
    if run is None:
        return {}
    stop_run(run, PATIENCE)
    _wait_until_paused(run)
    run.note_stop()
    return show(token, current, language, fill=False)


def show(token: str | None, current: str | None, language: str, *, fill: bool = True) -> View:
    """Show a run of this visit as it stands, finished or put down, and `fill` the form as it was."""
    visit = Visit(token)
    run = visit.find(current)
    if run is None:
        return {}
    view = record_view(run, language) if run.is_finished else stopped_view(run, language)
    view = empty_view() | view | {"current": run.name, "pending": ""}
    return view | {"history": history_view(visit, language, run.name)} | (form_view(run) if fill else {})


def arrive(token: str | None, language: str) -> View:
    """Show what a visitor had when they left: their last run with its form; one that goes on is `pending`."""
    visit = Visit(token)
    last = next(iter(visit.runs()), None)
    if last is None:
        return {"history": history_view(visit, language), "pending": ""}
    view = show(token, last.name, language)
    begun = runs_go_on_alone() and last.record() is None and not last.is_stopped  # a reload came before its start
    if is_going_on(last) or begun:
        view |= busy_view() | {"pending": last.name, "progress": status_html(language, "status.queue")}
    return view


def remember(token: str, uploads: Sequence[str]) -> None:
    """Note what a visitor has sent: gradio keeps it in a folder of its own, whether it is used or not."""
    # a form that is emptied may still name what was deleted just now
    sent = [path for path in uploads if upload_folder(path) is not None and Path(path).is_file()]
    if token and sent:
        Visit(token).remember(sent)


def forget(token: str, language: str) -> View:
    """Delete a visit at once, and the copies of what was uploaded that gradio took in; its runs were just stopped."""
    visit = Visit(token)
    for run in visit.runs():
        stop_run(run, PATIENCE)
        _wait_until_paused(run)
    copies = [upload_folder(path) for path in visit.uploads()]
    visit.forget()
    forget_looks()
    for folder in filter(None, copies):
        shutil.rmtree(folder, ignore_errors=True)
    return empty_view(status_html(language, "forgotten")) | {
        "current": "",
        "pending": "",
        "seen": "",
        "history": gr.update(choices=[], value=None, visible=False),
    }


def _wait_until_paused(run: Run) -> None:
    """Wait for a run that was cancelled."""
    patience = time.monotonic() + PATIENCE
    while run.is_locked and time.monotonic() < patience:
        time.sleep(0.05)
