"""What the buttons of the page do, for one picture and a portfolio alike: begin, go on, stop, show again, forget."""

import shutil
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import gradio as gr

from cgidm import UserError

from ..html.i18n import known_language, translate
from ..html.progress import status_html
from ..html.views import View, empty_view, event_view, history_view, record_view, stopped_view
from ..runs.download_cache import bytes_needed, fetch_models
from ..runs.runner import check_bank_fits, execute_run, open_run_models
from ..runs.store import Run, Visit
from .errors import refusal
from .request import Request
from .uploads import upload_folder
from .visitor import visitor_token

PATIENCE = 3.0  # seconds that Stop waits for a run to be put down


def begin(request: Request, token: str, several: bool, language: str) -> View:
    """See that a run can be done, and set it up; nothing is computed yet.

    Raises:
        gr.Error: with one sentence that says what was given and what is accepted.
    """
    try:
        request.check(fewest=2 if several else 1)
        run = replace(request, language=known_language(language)).begin(Visit(token))
    except UserError as error:
        raise refusal(error, language) from error
    return empty_view(status_html(language, "status.queue")) | {"current": run.name}


def fetch(token: str, current: str, language: str, oauth_token: gr.OAuthToken | None) -> Generator[View]:
    """Download the models of a run, if need be, while others use the GPU."""
    run = Visit(token).find(current)
    if run is None:
        raise refusal(translate(language, "error.gone"), language)
    try:
        models = open_run_models(run, visitor_token(oauth_token))
        if gigabytes := round(bytes_needed(*models) / 1e9, 1):
            pool = ThreadPoolExecutor(1)
            download = pool.submit(fetch_models, *models)
            pool.shutdown(wait=False)  # if the visitor leaves, the download ends by itself, for the next one
            while not download.done():
                yield {"progress": status_html(language, "status.fetching", gb=gigabytes)}
                wait([download], timeout=1)
            download.result()
        check_bank_fits(run, models[0])
    except UserError as error:
        yield {"progress": ""}
        raise refusal(error, language) from error
    yield {"progress": status_html(language, "status.queue")}


def go_on(
    token: str | None, current: str, several: bool, language: str, oauth_token: gr.OAuthToken | None
) -> Generator[View]:
    """Carry a run out from where it stands, showing it. Closing the generator puts it down."""
    visit = Visit(token)
    run = visit.find(current)
    if run is None:
        raise refusal(translate(language, "error.gone"), language)
    try:
        for event in execute_run(run, visitor_token(oauth_token)):
            yield event_view(run, event, language)
    except UserError as error:
        yield {"progress": ""}
        raise refusal(error, language) from error
    yield {"history": history_view(visit, language, several)}


def stop(token: str | None, current: str, several: bool, language: str) -> View:
    """What is left of a run that was just stopped; gradio has closed its generator, or is about to."""
    visit = Visit(token)
    run = visit.find(current)
    if run is None:
        return {}
    _wait_until_paused(run)
    return show(token, current, several, language)


def show(token: str | None, current: str | None, several: bool, language: str) -> View:
    """A run of this visit as it stands, finished or put down."""
    visit = Visit(token)
    run = visit.find(current)
    if run is None:
        return {}
    view = record_view(run, language) if run.is_finished else stopped_view(run, language)
    return empty_view() | view | {"current": run.name, "history": history_view(visit, language, several)}


def arrive(token: str | None, several: bool, language: str) -> View:
    """What a visitor finds: their last run, if it was put down before its end, and the list of all."""
    visit = Visit(token)
    last = next((r for r in visit.runs() if (len(r.picture_names) > 1) == several), None)
    view = stopped_view(last, language) | {"current": last.name} if last and not last.is_finished else {}
    return view | {"history": history_view(visit, language, several)}


def remember(token: str, uploads: Sequence[str]) -> None:
    """Note what a visitor has sent: gradio keeps it in a folder of its own, whether it is used or not."""
    sent = [path for path in uploads if upload_folder(path) is not None]
    if token and sent:
        Visit(token).remember(sent)


def forget(token: str, language: str) -> View:
    """Delete a visit at once, and the copies of what was uploaded that gradio took in; its runs were just stopped."""
    visit = Visit(token)
    for run in visit.runs():
        _wait_until_paused(run)
    copies = [upload_folder(path) for path in visit.uploads()]
    visit.forget()
    for folder in filter(None, copies):
        shutil.rmtree(folder, ignore_errors=True)
    return empty_view(status_html(language, "forgotten")) | {
        "current": "",
        "history": gr.update(choices=[], value=None, visible=False),
    }


def _wait_until_paused(run: Run) -> None:
    """Wait for a run that was cancelled."""
    patience = time.monotonic() + PATIENCE
    while run.is_locked and time.monotonic() < patience:
        time.sleep(0.05)
