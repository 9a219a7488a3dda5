"""The first step of the page: which model is suspected, and what is known of it before a GPU second is spent."""

from dataclasses import dataclass

import gradio as gr

from cgidm.intake.family import JUDGED
from cgidm.resources import SHIPPED, SHIPPED_BASE

from ..handlers.suspect import check_suspect, shipped_pair
from ..html.views import View
from ..runs.model_cache import BASES, EXAMPLES, shipped_prompt
from .widgets import file_upload, info
from .wiring import PRIVATE, QUICK, Texts, Values, Widgets, listen, listen_with_token

EXAMPLE_NAMES = {"gerald-g-dreambooth": "DreamBooth, Gerald G.", "rollandin-lora": "LoRA, Architetto Rollandin"}


@dataclass(frozen=True)
class Panel:
    """The panel's widgets, which both tabs read."""

    suspect: gr.Dropdown
    upload: gr.File
    base: gr.Dropdown
    prompt: gr.Textbox

    @property
    def fields(self) -> Widgets:
        """The fields by the names of a request."""
        return {"suspect": self.suspect, "upload": self.upload, "base": self.base, "prompt": self.prompt}


def build_panel(texts: Texts) -> Panel:
    """Lay out the panel and wire its check."""
    gr.Markdown("## " + texts("step1"))
    with gr.Row():
        with gr.Column(min_width=280):
            suspect = suspect_field(texts, "suspect", "suspect", SHIPPED + EXAMPLES[0] if EXAMPLES else None)
            upload = file_upload(texts("upload_model"), "upload", several=False, types=[".safetensors"], height=140)
            check = gr.Button(texts("check"), size="sm", elem_id="check")
            info(texts("check.info"))
        with gr.Column(min_width=280):
            base, prompt = _base_field(texts), _prompt_field(texts)
    report = gr.Code(
        label=texts("check_report"), language=None, wrap_lines=True, interactive=False, visible=False, elem_id="report"
    )
    _wire(check, report, Panel(suspect, upload, base, prompt))
    return Panel(suspect, upload, base, prompt)


def suspect_field(texts: Texts, name: str, elem_id: str, value: str | None) -> gr.Dropdown:
    """A field for a fine-tuned model: a shipped one, or any name; `name` is that of its texts."""
    return gr.Dropdown(
        [(EXAMPLE_NAMES.get(example, example), SHIPPED + example) for example in EXAMPLES],
        value=value,
        allow_custom_value=True,
        label=texts(f"{name}.label"),
        info=texts(f"{name}.info"),
        elem_id=elem_id,
    )


def _base_field(texts: Texts) -> gr.Dropdown:
    return gr.Dropdown(
        [("mini (128 x 128)", SHIPPED_BASE), *[(name, name) for name in BASES]],
        value=SHIPPED_BASE,
        allow_custom_value=True,
        label=texts("base.label"),
        info=f"{texts('base.info')} {texts('base.families')} {', '.join(JUDGED)}.",
        elem_id="base",
    )


def _prompt_field(texts: Texts) -> gr.Textbox:
    return gr.Textbox(
        value=shipped_prompt(EXAMPLES[0]) if EXAMPLES else "",
        label=texts("prompt.label"),
        info=texts("prompt.info"),
        max_length=500,
        elem_id="prompt",
    )


def _wire(check: gr.Button, report: gr.Code, panel: Panel) -> None:
    known = {"base": panel.base, "prompt": panel.prompt}

    def describe(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> View:
        return check_suspect(values["suspect"], values["upload"], language, oauth_token)

    def fill_in(values: Values, language: str) -> View:
        return shipped_pair(values["suspect"])

    named = {"suspect": panel.suspect, "upload": panel.upload}
    options = {"concurrency_limit": 4, "show_progress": "minimal", **PRIVATE}
    listen_with_token(check.click, describe, named, {"report": report, **known}, **options)
    listen(panel.suspect.input, fill_in, {"suspect": panel.suspect}, known, **QUICK)
