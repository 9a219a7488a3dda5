"""The first step of the page: which model is suspected, and what is known of it before a GPU second is spent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from cgidm import UserError
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.resources import SHIPPED, SHIPPED_BASE

from ..handlers.errors import refusal
from ..html.i18n import language_of
from ..runs.model_cache import BASES, EXAMPLES, open_suspect, shipped_prompt

Say = Callable[[str], Any]  # the key of a text -> what the browser puts in the visitor's language
EXAMPLE_NAMES = {"gerald-g-dreambooth": "DreamBooth, Gerald G.", "rollandin-lora": "LoRA, Architetto Rollandin"}


@dataclass(frozen=True)
class Panel:
    """Its widgets; both ways of judging read them."""

    suspect: gr.Dropdown
    upload: gr.File
    base: gr.Dropdown
    prompt: gr.Textbox

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.suspect, self.upload, self.base, self.prompt]


def build_panel(say: Say) -> Panel:
    """Lay it out and wire the check."""
    shipped = [(EXAMPLE_NAMES.get(name, name), SHIPPED + name) for name in EXAMPLES]
    bases = [("mini (128 x 128)", SHIPPED_BASE), *[(name, name) for name in BASES]]
    gr.Markdown("## " + say("step1"))
    with gr.Row():
        with gr.Column(min_width=280):
            suspect = gr.Dropdown(
                shipped,
                value=SHIPPED + EXAMPLES[0] if EXAMPLES else None,
                allow_custom_value=True,
                label=say("suspect.label"),
                info=say("suspect.info"),
                elem_id="suspect",
            )
            upload = gr.File(
                label=say("upload_model"), file_types=[".safetensors"], type="filepath", height=140, elem_id="upload"
            )
            check = gr.Button(say("check"), size="sm", elem_id="check")
            gr.Markdown(say("check.info"), elem_classes="info")
        with gr.Column(min_width=280):
            base = gr.Dropdown(
                bases,
                value=SHIPPED_BASE,
                allow_custom_value=True,
                label=say("base.label"),
                info=say("base.info"),
                elem_id="base",
            )
            prompt = gr.Textbox(
                value=shipped_prompt(EXAMPLES[0]) if EXAMPLES else "",
                label=say("prompt.label"),
                info=say("prompt.info"),
                max_length=500,
                elem_id="prompt",
            )
    report = gr.Code(
        label=say("check_report"), language=None, wrap_lines=True, interactive=False, visible=False, elem_id="report"
    )
    check.click(
        check_model,
        [suspect, upload],
        [report, base, prompt],
        concurrency_limit=4,
        show_progress="minimal",
        api_visibility="private",
    )
    suspect.input(
        fill_in_shipped, [suspect], [base, prompt], queue=False, show_progress="hidden", api_visibility="private"
    )
    return Panel(suspect, upload, base, prompt)


def check_model(
    suspect: str | None, upload: str | None, request: gr.Request, oauth_token: gr.OAuthToken | None
) -> tuple[dict, dict, dict]:
    """What the suspect is, from names and headers alone; its public base and prompt, where they can be guessed.

    A visitor names no path of the server's, and the only token that is used is their own. A file that is handed over
    goes before the name beside it.
    """
    try:
        found = inspect_suspect(suspect, upload, oauth_token)
    except UserError as error:
        raise refusal(error, language_of_request(request)) from error
    base, prompt = found["base"], found["prompt"]
    if upload is None and (name := (suspect or "").removeprefix(SHIPPED)) in EXAMPLES:
        base, prompt = SHIPPED_BASE, shipped_prompt(name)
    shown = gr.update(value="\n".join(report_lines(found)), visible=True)
    return shown, gr.update(value=base) if base else gr.skip(), gr.update(value=prompt) if prompt else gr.skip()


def inspect_suspect(suspect: str | None, upload: str | None, oauth_token: gr.OAuthToken | None) -> dict:
    """`inspect_checkpoint` of what a visitor means.

    Raises:
        UserError: if it cannot be found, or is none.
    """
    return inspect_checkpoint(open_suspect("" if upload else suspect or "", upload, token_of(oauth_token)))


def fill_in_shipped(suspect: str | None) -> tuple[object, object]:
    """Base and prompt of a shipped suspect; of any other, nothing is known before it is checked."""
    name = (suspect or "").removeprefix(SHIPPED)
    return (SHIPPED_BASE, shipped_prompt(name)) if name in EXAMPLES else (gr.skip(), gr.skip())


def language_of_request(request: gr.Request | None) -> str:
    """The visitor's language, as their browser states it."""
    return language_of(request.headers.get("accept-language") if request else None)


def token_of(oauth_token: gr.OAuthToken | None) -> str | None:
    """The visitor's own token, if they have logged in; never the operator's."""
    return None if oauth_token is None else oauth_token.token
