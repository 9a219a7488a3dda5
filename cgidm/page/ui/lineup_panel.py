"""The part of the page that an observer of a line-up sees: nothing else is on the page meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..handlers import lineup as choosing
from ..handlers import runs as judging
from ..handlers.lineup import Choosing
from ..html.views import View
from .model_panel import Say, language_of_request
from .run_tab import Tab, in_places

TO_THE_TOP = "() => scrollTo(0, 0)"


@dataclass(frozen=True)
class Observer:
    """Its widgets."""

    column: gr.Column
    state: gr.State  # a `Choosing`, which stays on the server
    shown: Mapping[str, gr.components.Component]  # what a view may change
    leave: gr.Button


def build_observer(say: Say) -> Observer:
    """Lay it out; it is hidden until somebody opens it."""
    shown: dict[str, Any] = {}
    with gr.Column(visible=False, elem_id="lineup") as column:
        gr.Markdown("# " + say("lineup.blind"))
        state = gr.State(None)
        shown["round"] = gr.HTML(elem_id="lineup-round", padding=False)
        shown["pick"] = gr.Radio([], label=say("lineup.pick"), elem_id="lineup-pick")
        with gr.Row(elem_classes="buttons"):
            shown["back"] = gr.Button(say("lineup.back"), elem_id="lineup-back", min_width=120)
            shown["next"] = gr.Button(say("lineup.next"), variant="primary", elem_id="lineup-next", min_width=120)
            shown["done"] = gr.Button(say("lineup.done"), variant="primary", elem_id="lineup-done", min_width=120)
            leave = gr.Button(say("lineup.leave"), elem_id="lineup-leave", min_width=120)
    return Observer(column, state, shown, leave)


def wire_observer(observer: Observer, everything: gr.Column, token: gr.BrowserState, tabs: Sequence[Tab]) -> None:
    """Say which button does what; `everything` is the rest of the page."""
    names, outputs = list(observer.shown), [observer.state, *observer.shown.values()]
    # with the queue: without it, the browser would not show a refusal
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 4}

    def places(found: tuple[Choosing, View]) -> list[Any]:
        return [found[0], *in_places(found[1], names)]

    def turn(token: str, state: Choosing, pick: str | None, by: int, request: gr.Request) -> list[Any]:
        return places(choosing.turn(token, state, pick, by, language_of_request(request)))

    def back(token: str, state: Choosing, pick: str | None, request: gr.Request) -> list[Any]:
        return turn(token, state, pick, -1, request)

    def go_on(token: str, state: Choosing, pick: str | None, request: gr.Request) -> list[Any]:
        return turn(token, state, pick, 1, request)

    def finish(token: str, state: Choosing, pick: str | None, request: gr.Request) -> list[Any]:
        return places(choosing.finish(token, state, pick, language_of_request(request)))

    chosen = [token, observer.state, observer.shown["pick"]]
    for name, answer in (("back", back), ("next", go_on), ("done", finish)):
        pressed = observer.shown[name].click(answer, chosen, outputs, **quick)  # type: ignore[attr-defined]
        pressed.success(None, js=TO_THE_TOP, api_visibility="private")
    for tab in tabs:
        _wire_opening(observer, everything, token, tab, quick)
    _wire_leaving(observer, everything, token, tabs, quick)


def _wire_opening(
    observer: Observer, everything: gr.Column, token: gr.BrowserState, tab: Tab, quick: dict[str, Any]
) -> None:
    def open_(token: str, current: str, request: gr.Request) -> list[Any]:
        state, view = choosing.open_lineup(token, current, tab.several, language_of_request(request))
        places = in_places(view, list(observer.shown))
        return [gr.update(visible=False), gr.update(visible=True), state, *places]

    outputs = [everything, observer.column, observer.state, *observer.shown.values()]
    opened = tab.shown["observe"].click(open_, [token, tab.shown["current"]], outputs, **quick)  # type: ignore[attr-defined]
    opened.success(None, js=TO_THE_TOP, api_visibility="private")


def _wire_leaving(
    observer: Observer, everything: gr.Column, token: gr.BrowserState, tabs: Sequence[Tab], quick: dict[str, Any]
) -> None:
    def leave(token: str, state: Choosing, request: gr.Request) -> list[Any]:
        shown = judging.show(token, state.run, state.several, language_of_request(request))
        views = [shown if tab.several == state.several else {} for tab in tabs]
        rest = [v for tab, view in zip(tabs, views, strict=True) for v in in_places(view, list(tab.shown))]
        return [gr.update(visible=True), gr.update(visible=False), None, "", *rest]

    outputs = [everything, observer.column, observer.state, observer.shown["round"]]
    rest = [widget for tab in tabs for widget in tab.shown.values()]
    observer.leave.click(leave, [token, observer.state], [*outputs, *rest], **quick)
