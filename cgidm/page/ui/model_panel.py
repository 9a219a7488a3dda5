"""The first step of the page: which model is suspected, found by its name, by words, by a link, or handed over."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from cgidm.intake.family import JUDGED
from cgidm.resources import SHIPPED, SHIPPED_BASE

from ..handlers.suspect import look_up
from ..html.views import View
from ..runs.model_cache import BASES, EXAMPLES
from .widgets import error_place, file_upload, info
from .wiring import PRIVATE, Texts, Values, Widgets, listen_with_token

EXAMPLE_NAMES = {"gerald-g-dreambooth": "DreamBooth, Gerald G.", "rollandin-lora": "LoRA, Architetto Rollandin"}
# looked up when nobody has typed for a while, for every key would ask the Hub; whoever pressed Enter has asked already
WHEN_TYPED = """() => {
    let typing;
    const field = event => event.target.closest('#suspect');
    document.addEventListener('input', event => {
        if (!field(event)) return;
        clearTimeout(typing);
        typing = setTimeout(() => document.querySelector('#find')?.click(), 800);
    });
    document.addEventListener('keydown', event => { if (event.key === 'Enter' && field(event)) clearTimeout(typing); });
    document.addEventListener('click', event => { if (event.target.closest('#find')) clearTimeout(typing); });
}"""
# a found model's name is put into the field and looked up as if it were typed; the list goes, the focus to the card
CHOOSE = """element.addEventListener('click', event => {
    const button = event.target.closest('[data-model]'), card = document.querySelector('#model-card');
    const field = document.querySelector('#suspect :is(input, textarea)');
    if (!button || !field || !card) return;
    field.value = button.dataset.model;
    field.dispatchEvent(new Event('input', {bubbles: true}));
    document.querySelector('#find').click();
    const told = new MutationObserver(() => {
        const part = card.querySelector('.cg-model, .cg-error'), focused = document.activeElement;
        if (!part) return;
        told.disconnect();
        if (focused !== document.body && !element.contains(focused)) return;
        part.tabIndex = -1;
        part.focus();
    });
    told.observe(card, {childList: true, subtree: true});
});"""


@dataclass(frozen=True)
class Panel:
    """The panel's widgets."""

    fields: Widgets  # by the names of a request
    outputs: Widgets  # what a view may change
    framing: gr.State  # a `KnownFraming`: how the suspect's training framed pictures


def build_panel(texts: Texts) -> Panel:
    """Lay out the panel and wire its check."""
    gr.Markdown("## " + texts("step1"))
    suspect = gr.Textbox(
        label=texts("suspect.label"),
        info=texts("suspect.info"),
        placeholder=texts("suspect.placeholder"),
        max_length=500,
        elem_id="suspect",
    )
    with gr.Row(elem_classes="buttons"):
        find = gr.Button(texts("find"), elem_id="find", min_width=120)
    errors: dict[str, Any] = {"error.suspect": error_place("suspect")}
    card = gr.HTML(elem_id="model-card", padding=False)
    found = gr.HTML(elem_id="found", padding=False, js_on_load=CHOOSE)
    with gr.Accordion(texts("upload_model"), open=False, elem_id="upload-more"):
        upload = file_upload(texts("upload_model"), "upload", several=True, types=[".safetensors", ".json"], height=110)
        info(texts("upload_model.info"))
    with gr.Accordion(texts("base.more"), open=True, elem_id="base-more"):
        base = _base_field(texts)
        info(f"{texts('base.families')} {', '.join(JUDGED)}.")  # gradio translates one text of a string
        errors["error.base"] = error_place("base")
        prompt = gr.Textbox(label=texts("prompt.label"), info=texts("prompt.info"), max_length=500, elem_id="prompt")
    framing = gr.State(None)
    fields: dict[str, Any] = {"suspect": suspect, "upload": upload, "base": base, "prompt": prompt}
    outputs: dict[str, Any] = {"card": card, "found": found, "framing": framing, **errors}
    panel = Panel(fields, outputs, framing)
    _wire(find, panel)
    return panel


def suspect_field(texts: Texts, name: str, elem_id: str) -> gr.Dropdown:
    """A field for another fine-tuned model: a shipped one, or any name; `name` is that of its texts."""
    return gr.Dropdown(
        [(EXAMPLE_NAMES.get(example, example), SHIPPED + example) for example in EXAMPLES],
        value="",
        allow_custom_value=True,
        label=texts(f"{name}.label"),
        info=texts(f"{name}.info"),
        elem_id=elem_id,
    )


def look_up_again(event: Any, panel: Panel) -> Any:
    """Show the card of whatever the form names, after an event that filled it in; base and prompt stay."""

    def describe(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> View:
        return look_up(values["suspect"], values["upload"], values["base"], language, oauth_token, fill=False)

    shown = {name: panel.outputs[name] for name in ("card", "found", "framing")}
    return listen_with_token(event, describe, _named(panel), shown, **_options())


def _base_field(texts: Texts) -> gr.Dropdown:
    return gr.Dropdown(
        [("mini (128 x 128)", SHIPPED_BASE), *[(name, name) for name in BASES]],
        value="",
        allow_custom_value=True,
        label=texts("base.label"),
        info=texts("base.info"),
        elem_id="base",
    )


def _named(panel: Panel) -> dict[str, Any]:
    return {name: panel.fields[name] for name in ("suspect", "upload", "base")}


def _options() -> dict[str, Any]:
    return {"concurrency_limit": 4, "show_progress": "hidden", "trigger_mode": "always_last", **PRIVATE}


def _wire(find: gr.Button, panel: Panel) -> None:
    suspect: Any = panel.fields["suspect"]
    upload: Any = panel.fields["upload"]
    outputs: dict[str, Any] = {**panel.outputs, **panel.fields}
    clear = {"error.suspect": ""}

    def typed(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> View:
        """One suspect counts: a name that is typed takes the place of a file."""
        view = look_up(values["suspect"], None, values["base"], language, oauth_token)
        return clear | view | ({"upload": None} if values["suspect"] else {})

    def uploaded(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> View:
        """A file takes the place of a name."""
        if not values["upload"]:
            return {"card": "", "framing": None} if not values["suspect"] else {}
        return clear | look_up("", values["upload"], values["base"], language, oauth_token) | {"suspect": ""}

    named = _named(panel)
    # one listener: an answer to what was asked before cannot come after that to what is asked now
    listen_with_token(partial(gr.on, [suspect.submit, find.click]), typed, named, outputs, **_options())
    for event in (upload.upload, upload.clear, upload.delete):
        listen_with_token(event, uploaded, named, outputs, **_options())
