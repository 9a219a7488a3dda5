"""Texts to hand over with an answer: one is chosen, filled in then, shown, and offered as a file."""

from typing import Any

import gradio as gr

from ..handlers.exports import export_view
from ..html.exports import EXPORT_KINDS
from ..html.views import View
from .wiring import REFUSABLE, Texts, Values, Widgets, listen


def build_export_panel(texts: Texts) -> Widgets:
    """Lay out the panel, folded away; returns its widgets by the names that its views use."""
    with gr.Accordion(texts("export.title"), open=False, elem_id="exports"):
        kinds = [(texts(f"export.kind.{name}"), name) for name in EXPORT_KINDS]
        widgets: dict[str, Any] = {
            "kind": gr.Radio(
                kinds,  # type: ignore[arg-type]
                label=texts("export.choose"),
                info=texts("export.info"),
                elem_id="export-kind",
            ),
            "about": gr.HTML(elem_id="export-about", padding=False),
            "text": gr.Textbox(
                label=texts("export.text"),
                interactive=False,
                visible=False,
                lines=8,
                max_lines=16,
                buttons=["copy"],
                elem_id="export-text",
            ),
            "file": gr.DownloadButton(texts("export.file"), visible=False, elem_id="export-file", min_width=200),
        }
    return widgets


def wire_export_panel(panel: Widgets, token: gr.BrowserState, current: Any) -> None:
    """Fill in the text that is chosen; `empty_view` takes it away with the answer that it belongs to."""

    def write(values: Values, language: str) -> View:
        return export_view(values["token"], values["current"], values["kind"], language)

    kind: Any = panel["kind"]
    listen(kind.input, write, {"token": token, "current": current, "kind": kind}, panel, **REFUSABLE)
