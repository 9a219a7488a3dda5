"""The second step of the page: which pictures, and what they can be compared with."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from cgidm.pictures.formats import SUFFIXES

from ..handlers.pictures import KnownFraming, count_controls, look_at_pictures
from ..handlers.request import file_list
from ..html.views import View
from ..runs.settings import LINEUPS, MAX_SEED, PRESET_NAMES, UNUSED, UNUSED_THAT_COUNT
from .bank_maker import BankMaker, build_bank_maker
from .model_panel import suspect_field
from .widgets import add_button, error_place, file_upload, info
from .wiring import PRIVATE, QUICK, Texts, Values, Widgets, listen

PICTURE_TYPES = ["image", *sorted(SUFFIXES)]  # of some suffixes no MIME type is known
# what is pasted anywhere on the page, but into a text, is a picture handed over
PASTE = """() => document.addEventListener('paste', event => {
    const files = [...event.clipboardData?.files ?? []], field = document.querySelector('#pictures input[type=file]');
    if (!files.length || !field || event.target.closest('input, textarea')) return;
    const carried = new DataTransfer();
    files.forEach(file => carried.items.add(file));
    field.files = carried.files;
    field.dispatchEvent(new Event('change', {bubbles: true}));
})"""


@dataclass(frozen=True)
class PicturePanel:
    """The panel's widgets."""

    fields: Widgets  # by the names of a request
    outputs: Widgets  # what a view may change
    bank_maker: BankMaker  # of the bank that the form takes


def build_picture_panel(texts: Texts, framing: gr.State) -> PicturePanel:
    """Lay out the panel, and look at pictures while they arrive."""
    gr.Markdown("## " + texts("step2"))
    outputs: dict[str, Any] = {}
    pictures = file_upload(texts("pictures.label"), "pictures", several=True, types=PICTURE_TYPES)
    with gr.Row(elem_classes="buttons"):
        more = add_button(texts("pictures.more"), "more-pictures", types=PICTURE_TYPES)
        folder = add_button(texts("pictures.folder"), "folder")
    info(texts("pictures.info"))
    outputs["error.pictures"] = error_place("pictures")
    outputs["seen"] = gr.HTML(elem_id="seen", padding=False)
    answers = [(texts(f"unused.{name}"), name) for name in UNUSED]
    unused = gr.Radio(
        answers,  # type: ignore[arg-type]
        value="none",
        label=texts("unused.label"),
        info=texts("unused.info"),
        elem_id="unused",
    )
    with gr.Column(visible=False, elem_id="controls-part") as part:
        controls = file_upload(texts("controls.label"), "controls", several=True, types=PICTURE_TYPES)
        more_controls = add_button(texts("pictures.more"), "more-controls", types=PICTURE_TYPES)
        outputs["control_count"] = gr.HTML(elem_id="control-count", padding=False)
        info(texts("controls.info"))
        outputs["error.controls"] = error_place("controls")
    others = gr.Markdown(texts("unused.others.about"), visible=False, elem_classes="info", elem_id="others-about")
    fields: dict[str, Any] = {"picture": pictures, "unused": unused, "controls": controls}
    with gr.Accordion(texts("settings"), open=False, elem_id="settings"):
        fields |= _setting_fields(texts)
        outputs["error.settings"] = error_place("settings")
        fields["unrelated"] = suspect_field(texts, "unrelated", "unrelated")
        outputs["error.unrelated"] = error_place("unrelated")
        fields["bank"] = file_upload(texts("bank.label"), "bank", several=False, types=[".json"])
        outputs["error.bank"] = error_place("bank")
        info(texts("bank.info"))
        maker = build_bank_maker(texts, "bank")
        outputs["link"] = gr.Textbox(
            label=texts("share"), info=texts("share.info"), interactive=False, buttons=["copy"], elem_id="share"
        )
    panel = PicturePanel(fields, outputs, maker)
    _wire(panel, part, others, framing)
    for button, field in ((more, pictures), (folder, pictures), (more_controls, controls)):
        _wire_adding(button, field)
    return panel


def _setting_fields(texts: Texts) -> dict[str, Any]:
    presets = [(texts(f"preset.{name}"), name) for name in PRESET_NAMES]
    lineups = [(texts("lineup.none") if n == 0 else str(n), n) for n in LINEUPS]
    return {
        "preset": gr.Radio(
            presets,  # type: ignore[arg-type]
            value="fast",
            label=texts("preset.label"),
            info=texts("preset.info"),
            elem_id="preset",
        ),
        "seed": gr.Number(
            0, label=texts("seed.label"), info=texts("seed.info"), precision=0, minimum=0, maximum=MAX_SEED
        ),
        "search": gr.Checkbox(label=texts("search.label"), info=texts("search.info"), elem_id="search"),
        "lineup": gr.Radio(
            lineups,  # type: ignore[arg-type]
            value=0,
            label=texts("lineup.label"),
            info=texts("lineup.info"),
            elem_id="lineup-size",
        ),
    }


def _wire_adding(button: gr.UploadButton, field: gr.File) -> None:
    """Add what a button took in to the files of a field: of a folder, what is named as pictures are."""

    def add(values: Values, language: str) -> View:
        added = [path for path in file_list(values["added"]) if path.lower().endswith(tuple(SUFFIXES))]
        return {"field": [*file_list(values["field"]), *added]}

    inputs: dict[str, Any] = {"field": field, "added": button}
    listen(button.upload, add, inputs, {"field": field}, concurrency_limit=4, show_progress="hidden", **PRIVATE)


def _wire(panel: PicturePanel, part: gr.Column, others: gr.Markdown, framing: gr.State) -> None:
    pictures: Any = panel.fields["picture"]
    unused: Any = panel.fields["unused"]
    controls: Any = panel.fields["controls"]

    def look(values: Values, language: str) -> View:
        known = values["framing"] if isinstance(values["framing"], KnownFraming) else None
        return look_at_pictures(values["picture"], known, language) | {"error.pictures": ""}

    def open_part(values: Values, language: str) -> View:
        counts = values["unused"] in UNUSED_THAT_COUNT
        shown = {"part": gr.update(visible=counts), "others": gr.update(visible=values["unused"] == "others")}
        return shown | count_controls(values["controls"], language)

    options = {"concurrency_limit": 4, "show_progress": "hidden", "trigger_mode": "always_last", **PRIVATE}
    looked = {"picture": pictures, "framing": framing}
    seen = {"seen": panel.outputs["seen"], "error.pictures": panel.outputs["error.pictures"]}
    for event in (pictures.change, framing.change):
        listen(event, look, looked, seen, **options)
    shown: dict[str, Any] = {"part": part, "others": others, "control_count": panel.outputs["control_count"]}
    for event in (unused.change, controls.change):
        listen(event, open_part, {"unused": unused, "controls": controls}, shown, **QUICK)
