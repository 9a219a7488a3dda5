"""The part of the page that an observer of a line-up sees: nothing else is on the page meanwhile."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..handlers import lineup as handlers
from ..handlers.runs import show
from ..html.views import View
from .run_tab import Tab
from .wiring import PRIVATE, REFUSABLE, Texts, Values, Widgets, listen

TO_THE_TOP = "() => scrollTo(0, 0)"


@dataclass(frozen=True)
class Observer:
    """Its widgets."""

    column: gr.Column
    state: gr.State  # a `Choosing`, which stays on the server
    outputs: Widgets  # what a view may change
    leave: gr.Button


def build_observer(texts: Texts) -> Observer:
    """Lay it out; it is hidden until somebody opens it."""
    outputs: dict[str, Any] = {}
    with gr.Column(visible=False, elem_id="lineup") as column:
        gr.Markdown("# " + texts("lineup.blind"))
        state = gr.State(None)
        outputs["round"] = gr.HTML(elem_id="lineup-round", padding=False)
        outputs["pick"] = gr.Radio([], label=texts("lineup.pick"), elem_id="lineup-pick")
        with gr.Row(elem_classes="buttons"):
            outputs["back"] = gr.Button(texts("lineup.back"), elem_id="lineup-back", min_width=120)
            for name in ("next", "done"):
                label = texts(f"lineup.{name}")
                outputs[name] = gr.Button(label, variant="primary", elem_id=f"lineup-{name}", min_width=120)
            leave = gr.Button(texts("lineup.leave"), elem_id="lineup-leave", min_width=120)
    return Observer(column, state, outputs, leave)


def wire_observer(observer: Observer, everything: gr.Column, token: gr.BrowserState, tab: Tab) -> None:
    """Wire the buttons of a line-up; `everything` is the rest of the page."""
    _wire_rounds(observer, token)
    _wire_opening(observer, everything, token, tab)
    _wire_leaving(observer, everything, token, tab)


def _wire_rounds(observer: Observer, token: gr.BrowserState) -> None:
    inputs = {"token": token, "state": observer.state, "pick": observer.outputs["pick"]}
    outputs = {"state": observer.state, **observer.outputs}

    def turn(values: Values, by: int, language: str) -> View:
        state, view = handlers.turn(values["token"], values["state"], values["pick"], by, language)
        return view | {"state": state}

    def go_back(values: Values, language: str) -> View:
        return turn(values, -1, language)

    def go_on(values: Values, language: str) -> View:
        return turn(values, 1, language)

    def finish(values: Values, language: str) -> View:
        state, view = handlers.finish(values["token"], values["state"], values["pick"], language)
        return view | {"state": state}

    for name, handler in (("back", go_back), ("next", go_on), ("done", finish)):
        button: Any = observer.outputs[name]
        pressed = listen(button.click, handler, inputs, outputs, **REFUSABLE)
        pressed.success(None, js=TO_THE_TOP, **PRIVATE)


def _wire_opening(observer: Observer, everything: gr.Column, token: gr.BrowserState, tab: Tab) -> None:
    outputs: Any = {"everything": everything, "column": observer.column, "state": observer.state, **observer.outputs}

    def open_lineup(values: Values, language: str) -> View:
        state, view = handlers.open_lineup(values["token"], values["current"], language)
        swap = {"everything": gr.update(visible=False), "column": gr.update(visible=True)}
        return view | swap | {"state": state}

    button: Any = tab.outputs["observe"]
    inputs = {"token": token, "current": tab.outputs["current"]}
    opened = listen(button.click, open_lineup, inputs, outputs, **REFUSABLE)
    opened.success(None, js=TO_THE_TOP, **PRIVATE)


def _wire_leaving(observer: Observer, everything: gr.Column, token: gr.BrowserState, tab: Tab) -> None:
    round_html = observer.outputs["round"]
    outputs: Any = {"everything": everything, "column": observer.column, "state": observer.state, "round": round_html}
    outputs |= {name: widget for name, widget in tab.outputs.items() if name not in tab.form}

    def leave(values: Values, language: str) -> View:
        state = values["state"]
        view = show(values["token"], state.run, language, fill=False)
        swap = {"everything": gr.update(visible=True), "column": gr.update(visible=False), "state": None, "round": ""}
        return view | swap

    listen(observer.leave.click, leave, {"token": token, "state": observer.state}, outputs, **REFUSABLE)
