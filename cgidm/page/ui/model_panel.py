"""The first step of the page: which model is suspected, found by its name, by words, by a link, or handed over."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from cgidm.intake.family import JUDGED
from cgidm.intake.known_bases.table import known_bases
from cgidm.resources import SHIPPED, SHIPPED_BASE

from ..handlers.suspect import look_up
from ..html.views import View
from ..runs import hardware
from ..runs.family_fits import family_fits
from ..runs.model_cache import EXAMPLES
from .widgets import error_place, file_upload, info
from .wiring import PRIVATE, Texts, Values, Widgets, listen_with_token

MORE_BASES = {  # beside those that are known by their files; any other can be typed
    "Stable Diffusion 1.4": "CompVis/stable-diffusion-v1-4",
    "Illustrious XL 0.1": "OnomaAIResearch/Illustrious-xl-early-release-v0/Illustrious-XL-v0.1.safetensors",
    "AltDiffusion m9": "BAAI/AltDiffusion-m9",
}
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
    key_part, key = _build_key(texts)
    found = gr.HTML(elem_id="found", padding=False, js_on_load=CHOOSE)
    with gr.Accordion(texts("upload_model"), open=False, elem_id="upload-more"):
        upload = file_upload(texts("upload_model"), "upload", several=True, types=[".safetensors", ".json"], height=110)
        info(texts("upload_model.info"))
    with gr.Accordion(texts("base.more"), open=True, elem_id="base-more"):
        base = _base_field(texts)
        errors["error.base"] = error_place("base")
        prompt = gr.Textbox(label=texts("prompt.label"), info=texts("prompt.info"), max_length=500, elem_id="prompt")
    framing = gr.State(None)
    fields: dict[str, Any] = {"suspect": suspect, "upload": upload, "base": base, "prompt": prompt}
    outputs: dict[str, Any] = {"card": card, "found": found, "framing": framing, **errors}
    outputs |= {"key_part": key_part, "civitai_key": key}
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
        key = values["civitai_key"]
        named = (values["suspect"], values["upload"], values["base"])
        return look_up(*named, language, oauth_token, civitai_key=key, fill=False)

    shown = {name: panel.outputs[name] for name in ("card", "found", "framing", "key_part")}
    return listen_with_token(event, describe, _named(panel), shown, **_options())


def _base_field(texts: Texts) -> gr.Dropdown:
    public = {base.name: base.location for base in known_bases() if not base.location.startswith(SHIPPED)} | MORE_BASES
    return gr.Dropdown(
        [("mini (128 x 128)", SHIPPED_BASE), *[(f"{name}: {place}", place) for name, place in public.items()]],
        value="",
        allow_custom_value=True,
        label=texts("base.label"),
        info=f"{texts(_families_key())} {', '.join(_families())}.",  # gradio translates one text of a string
        elem_id="base",
    )


def _build_key(texts: Texts) -> tuple[gr.Accordion, gr.Textbox]:
    """Lay out the field for a visitor's own key, which is there only where Civitai refuses without one.

    It is no field of the form: nothing of it is kept, linked to, or restored.
    """
    with gr.Accordion(texts("key.title"), open=False, visible=False, elem_id="civitai-key-part") as part:
        key = gr.Textbox(
            label=texts("key.label"),
            info=texts("key.info"),
            type="password",
            max_length=500,
            html_attributes=gr.InputHTMLAttributes(autocomplete="off", autocorrect="off", spellcheck=False),
            elem_id="civitai-key",
        )
    return part, key


def _families_key() -> str:
    return "fits.base.cpu" if hardware.kind() == "cpu" else "fits.base"


def _families() -> list[str]:
    """The families that fit this machine's GPU, in the order of the table; without a GPU, all that can be judged."""
    fits = family_fits()
    refused = {fit.family for fit in fits} - {fit.family for fit in fits if fit.can_run}
    return [family for family in JUDGED if hardware.kind() == "cpu" or family not in refused]


def _named(panel: Panel) -> dict[str, Any]:
    named: dict[str, Any] = {name: panel.fields[name] for name in ("suspect", "upload", "base")}
    return named | {"civitai_key": panel.outputs["civitai_key"]}


def _options() -> dict[str, Any]:
    return {"concurrency_limit": 4, "show_progress": "hidden", "trigger_mode": "always_last", **PRIVATE}


def _wire(find: gr.Button, panel: Panel) -> None:
    suspect: Any = panel.fields["suspect"]
    upload: Any = panel.fields["upload"]
    outputs: dict[str, Any] = {**panel.outputs, **panel.fields}
    clear = {"error.suspect": ""}

    def typed(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> View:
        """One suspect counts: a name that is typed takes the place of a file."""
        key = values["civitai_key"]
        view = look_up(values["suspect"], None, values["base"], language, oauth_token, civitai_key=key)
        return clear | view | ({"upload": None} if values["suspect"] else {})

    def uploaded(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> View:
        """A file takes the place of a name."""
        if not values["upload"]:
            return {"card": "", "framing": None} if not values["suspect"] else {}
        return clear | look_up("", values["upload"], values["base"], language, oauth_token) | {"suspect": ""}

    named = _named(panel)
    key: Any = panel.outputs["civitai_key"]
    # one listener: an answer to what was asked before cannot come after that to what is asked now
    listen_with_token(partial(gr.on, [suspect.submit, find.click, key.submit]), typed, named, outputs, **_options())
    for event in (upload.upload, upload.clear, upload.delete):
        listen_with_token(event, uploaded, named, outputs, **_options())
