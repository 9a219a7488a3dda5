"""A button that writes the commands which make a bank of null models, and the place where they then stand."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from ..handlers.bank import answered_bank_view, bank_view
from ..html.views import View, no_commands
from .wiring import PRIVATE, QUICK, Texts, Values, Widgets, listen, listen_with_token

MODELS = ("suspect", "upload", "base", "prompt")  # what the commands hold
COUNTED = (*MODELS, "picture", "controls", "unused", "seed")  # what their cost depends on
# one at a time: the memory of a training is counted for seconds
OPTIONS: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "bank", "show_progress": "minimal", **PRIVATE}


@dataclass(frozen=True)
class BankMaker:
    """The button, and what it fills: "about", and the commands "own" and "job"."""

    button: gr.Button
    filled: Widgets


def build_bank_maker(texts: Texts, name: str) -> BankMaker:
    """Lay out a bank maker; `name` is the beginning of its elements' ids."""
    button = gr.Button(texts("bank.make"), elem_id=f"{name}-make", size="sm")
    filled: dict[str, Any] = {"about": gr.HTML(elem_id=f"{name}-about", padding=False)}
    for command in ("own", "job"):
        filled[command] = gr.Textbox(
            label=texts(f"bank.make.{command}"),
            info=texts(f"bank.make.{command}.info"),
            interactive=False,
            visible=False,
            lines=3,
            max_lines=12,
            buttons=["copy"],
            elem_id=f"{name}-{command}",
            elem_classes="command",
        )
    return BankMaker(button, filled)


def wire_form_bank(maker: BankMaker, form: Widgets) -> None:
    """Write the commands for the models of the form; they go when other models are named."""

    def write(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> View:
        return bank_view(values, language, oauth_token)

    def clear(values: Values, language: str) -> View:
        return no_commands()

    listen_with_token(maker.button.click, write, {name: form[name] for name in COUNTED}, maker.filled, **OPTIONS)
    changes = [form[name].change for name in MODELS]  # type: ignore[attr-defined]
    listen(partial(gr.on, changes), clear, {}, maker.filled, **QUICK)


def wire_answer_bank(maker: BankMaker, token: gr.BrowserState, current: Any) -> None:
    """Write the commands for the models of the answer that is shown; `empty_view` takes them away with it."""

    def write(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> View:
        return answered_bank_view(values["token"], values["current"], language, oauth_token)

    listen_with_token(maker.button.click, write, {"token": token, "current": current}, maker.filled, **OPTIONS)
