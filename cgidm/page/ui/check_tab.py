"""The tab *Check a zip*: somebody who was handed evidence drops it, and sees what it shows and what it does not."""

import gradio as gr

from ..handlers.check import check_zip
from ..html.views import View
from .widgets import file_upload, info
from .wiring import PRIVATE, Texts, Values, listen


def build_check_tab(texts: Texts) -> gr.File:
    """Lay out the tab and wire it; returns the field of the zip."""
    info(texts("check.about"))
    field = file_upload(texts("check.file"), "check-file", several=False, types=[".zip"], height=140)
    seal = gr.Textbox(
        label=texts("check.seal"),
        info=texts("check.seal.info"),
        interactive=False,
        visible=False,
        buttons=["copy"],
        elem_id="check-seal",
    )
    checked = gr.HTML(elem_id="checked", padding=False, min_height=40)

    def check(values: Values, language: str) -> View:
        return check_zip(values["file"], language)

    outputs = {"checked": checked, "seal": seal}
    options = {"concurrency_limit": 1, "concurrency_id": "check", "show_progress": "minimal", **PRIVATE}
    listen(field.change, check, {"file": field}, outputs, **options)
    return field
