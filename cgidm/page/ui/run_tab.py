"""The tab that judges: the three steps with their buttons, and which button does what."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from ..handlers import runs as handlers
from ..handlers.cost import cost_view
from ..handlers.form import SETTINGS, stale_view
from ..handlers.pictures import readable
from ..handlers.request import MAX_PICTURES, file_list, make_request
from ..html.views import View
from .answer_panel import build_answer_panel
from .bank_maker import wire_answer_bank, wire_form_bank
from .export_panel import wire_export_panel
from .model_panel import Panel, build_panel, look_up_again
from .picture_panel import build_picture_panel
from .wiring import PRIVATE, QUICK, REFUSABLE, WATCH, Texts, Values, Widgets, listen, stream

# what the cost depends on
PRICED = ("suspect", "upload", "picture", "unused", "controls", "preset", "search", "bank", "lineup", "unrelated")
UPLOADS = ("upload", "picture", "controls", "bank")
COMPARED = ("suspect", "upload", "picture", "unused", "controls", "bank", *SETTINGS)  # what an answer belongs to
TO_THE_ANSWER = """() => {
    const part = document.querySelector('#answer-part'), calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (document.querySelector('.cg-error')?.checkVisibility())
        return document.querySelector('.cg-error').scrollIntoView({block: 'center'});
    part.scrollIntoView({block: 'start', behavior: calm ? 'auto' : 'smooth'});
    const before = document.activeElement;
    window.cgAnswer?.disconnect();  // of a run before this one
    const look = () => {  // however long it takes; whoever has gone elsewhere meanwhile stays there
        const outcome = part.querySelector('#answer .cg-outcome'), focused = document.activeElement;
        if (!outcome) return;
        window.cgAnswer.disconnect();
        if (focused === before || focused === document.body) outcome.focus({preventScroll: true});
    };
    window.cgAnswer = new MutationObserver(look);
    window.cgAnswer.observe(part, {childList: true, subtree: true});
    look();
}"""


@dataclass(frozen=True, kw_only=True)
class Tab:
    """The widgets of the tab.

    Attributes:
        panel: the first step's.
        form: the fields, by the names of a request.
        outputs: what a view may change, by the names that views use; the form is among them.
        runs: the events that execute a run, which *Stop* cancels.
        watch: what shows a run that goes on, after an event that named it in `pending`.
    """

    panel: Panel
    form: Widgets
    outputs: Widgets
    runs: Sequence[Any]
    watch: Any


def build_tab(texts: Texts, token: gr.BrowserState) -> Tab:
    """Lay out the tab and wire its buttons."""
    with gr.Row(elem_id="steps-and-answer"):
        with gr.Column(scale=2, min_width=300):
            panel = build_panel(texts)
            pictures = build_picture_panel(texts, panel.framing)
            cost = gr.HTML(elem_id="cost", padding=False)
            with gr.Row(elem_classes="buttons"):
                run = gr.Button(texts("run"), variant="primary", elem_id="run", min_width=120)
                stop = gr.Button(texts("stop"), elem_id="stop", min_width=80, interactive=False)
                resume = gr.Button(texts("resume"), variant="primary", visible=False, elem_id="resume", min_width=80)
        with gr.Column(scale=3, min_width=300):
            answer = build_answer_panel(texts)
    form = {**panel.fields, **pictures.fields}
    wire_form_bank(pictures.bank_maker, form)
    own = {"current": gr.State(""), "pending": gr.State(""), "cost": cost, "run": run, "stop": stop, "resume": resume}
    outputs: dict[str, Any] = {**own, **answer.widgets, **panel.outputs, **pictures.outputs, **form}
    outputs.pop("link")
    wire_answer_bank(answer.bank_maker, token, outputs["current"])
    wire_export_panel(answer.exports, token, outputs["current"])
    runs, watch = _wire_run(token, form, outputs)
    _wire_history(token, panel, outputs)
    _wire_form(token, form, outputs)
    return Tab(panel=panel, form=form, outputs=outputs | {"link": pictures.outputs["link"]}, runs=runs, watch=watch)


def _wire_run(token: gr.BrowserState, form: Widgets, outputs: Any) -> tuple[Sequence[Any], Any]:
    """Wire *Run*, *Continue* and *Stop*; returns the events that execute a run, and what watches one."""
    current = {"token": token, "current": outputs["current"]}
    pending = {"token": token, "pending": outputs["pending"]}
    slow = {"show_progress": "hidden", **PRIVATE}

    def begin(values: Values, language: str) -> View:
        files = file_list(values["picture"])
        if len(files) <= MAX_PICTURES:  # what cannot be read was said beside it
            values["picture"] = readable(files)
        return handlers.begin(make_request(values), values["token"], language)

    def fetch(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> Generator[View]:
        return handlers.fetch(values["token"], values["pending"], language, oauth_token, values["civitai_key"])

    def go_on(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> Generator[View]:
        return handlers.go_on(values["token"], values["pending"], language, oauth_token)

    def again(values: Values, language: str) -> View:
        return {"pending": values["current"]}

    def end(values: Values, language: str) -> View:
        return handlers.stop(values["token"], values["current"], language)

    shown = {name: widget for name, widget in outputs.items() if name not in form}

    def watch(event: Any) -> Any:
        return stream(event, go_on, pending, shown, **WATCH, **slow)

    begun = listen(outputs["run"].click, begin, {"token": token, **form}, shown, **REFUSABLE)
    begun.then(None, js=TO_THE_ANSWER, **PRIVATE)
    with_key = {**pending, "civitai_key": outputs["civitai_key"]}  # no other event of a run has it
    fetched = stream(begun.then, fetch, with_key, shown, concurrency_limit=4, **slow)
    first = watch(fetched.then)
    resumed = listen(outputs["resume"].click, again, current, {"pending": outputs["pending"]}, **QUICK)
    resumed.then(None, js=TO_THE_ANSWER, **PRIVATE)
    second = watch(resumed.then)
    runs = [fetched, first, second]
    # two listeners: with one, the browser would cancel only after the function has answered
    outputs["stop"].click(None, cancels=runs, **PRIVATE)
    ended = listen(outputs["stop"].click, end, current, shown, **QUICK)
    ended.then(None, js=TO_THE_ANSWER, **PRIVATE)  # which says how far it came
    return runs, watch


def _wire_history(token: gr.BrowserState, panel: Panel, outputs: Any) -> None:
    def show(values: Values, language: str) -> View:
        return handlers.show(values["token"], values["history"], language)

    history = {"token": token, "history": outputs["history"]}
    chosen = listen(outputs["history"].input, show, history, outputs, **QUICK)
    chosen.then(None, js=TO_THE_ANSWER, **PRIVATE)
    look_up_again(chosen.then, panel)


def _wire_form(token: gr.BrowserState, form: Widgets, outputs: Any) -> None:
    """Keep the stated cost up to date, mark an answer to other settings, and note which files were sent."""

    def remember(values: Values, language: str) -> View:
        handlers.remember(values["token"], [path for name in UPLOADS for path in file_list(values[name])])
        return {}

    def compare(values: Values, language: str) -> View:
        return stale_view(values, values["token"], values["current"], language)

    priced, uploads, compared = ({name: form[name] for name in names} for names in (PRICED, UPLOADS, COMPARED))
    listen(_any_change(priced), cost_view, priced, {"cost": outputs["cost"]}, **QUICK)
    listen(_any_change(uploads), remember, {"token": token, **uploads}, {}, **QUICK)
    current = {"token": token, "current": outputs["current"]}
    changes = {**compared, "current": outputs["current"]}
    listen(_any_change(changes), compare, {**current, **compared}, {"stale": outputs["stale"]}, **QUICK)


def _any_change(widgets: Widgets) -> Any:
    return partial(gr.on, [widget.change for widget in widgets.values()])  # type: ignore[attr-defined]
