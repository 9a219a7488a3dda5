"""Connects widgets with handlers: a handler takes values by name and returns a view, values by name.

A view holds only what changes; every other widget stays as it is.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components.base import Component

from ..handlers.visitor import visitor_language
from ..html.views import View
from ..runs.background import runs_go_on_alone

MOST_WATCHERS = 30  # visitors who are shown a run at once
Texts = Callable[[str], Any]  # key of a text -> what the browser puts in the visitor's language
Widgets = Mapping[str, Component | BlockContext]  # and the parts that hold components
Values = dict[str, Any]
Event = Callable[..., Any]  # `button.click`, or `gr.on` with its triggers

GPU: dict[str, Any] = {"concurrency_id": "gpu", "concurrency_limit": 1}
# on ZeroGPU whoever watches holds the GPU; elsewhere runs take turns by themselves, and anybody may watch
WATCH: dict[str, Any] = {"concurrency_limit": MOST_WATCHERS} if runs_go_on_alone() else GPU
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", **PRIVATE}
# with the queue: without it, the browser would not show a refusal
REFUSABLE: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 4, **PRIVATE}


def listen(
    event: Event, handler: Callable[[Values, str], View], inputs: Widgets, outputs: Widgets, **options: Any
) -> Any:
    """Call `handler(values, language)` at an event, and put its view into the outputs."""

    def answer(given: dict[Any, Any], request: gr.Request) -> Any:
        return output_values(handler(named_values(given, inputs), visitor_language(request)), outputs)

    return event(answer, set(inputs.values()), list(outputs.values()), **options)


def listen_with_token(
    event: Event,
    handler: Callable[[Values, str, gr.OAuthToken | None], View],
    inputs: Widgets,
    outputs: Widgets,
    **options: Any,
) -> Any:
    """Do the same with a handler that also takes the visitor's token for the Hub."""

    def answer(given: dict[Any, Any], request: gr.Request, oauth_token: gr.OAuthToken | None) -> Any:
        return output_values(handler(named_values(given, inputs), visitor_language(request), oauth_token), outputs)

    return event(answer, set(inputs.values()), list(outputs.values()), **options)


def stream(
    event: Event,
    handler: Callable[[Values, str, gr.OAuthToken | None], Generator[View]],
    inputs: Widgets,
    outputs: Widgets,
    **options: Any,
) -> Any:
    """Call a handler that yields views, and show each of them. When the event is cancelled, the handler is closed."""

    # a generator function itself: gradio cancels nothing else
    def answer(given: dict[Any, Any], request: gr.Request, oauth_token: gr.OAuthToken | None) -> Iterator[Any]:
        values, language = named_values(given, inputs), visitor_language(request)
        yield output_values({}, outputs)  # without any view, gradio would empty all of the outputs
        with closing(handler(values, language, oauth_token)) as views:
            for view in views:
                yield output_values(view, outputs)

    return event(answer, set(inputs.values()), list(outputs.values()), **options)


def named_values(given: Mapping[Any, Any], widgets: Widgets) -> Values:
    """Return what gradio hands over by widget, by name."""
    return {name: given[widget] for name, widget in widgets.items()}


def output_values(view: View, outputs: Widgets) -> Any:
    """Return a view as gradio takes it: one value for each output."""
    values = [view.get(name, gr.skip()) for name in outputs]
    return values[0] if len(values) == 1 else values
