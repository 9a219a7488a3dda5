"""The third step of the page: the answer, what it is about, the pictures, what can be done now, and why."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from .bank_maker import BankMaker, build_bank_maker
from .export_panel import build_export_panel
from .wiring import Texts, Widgets


@dataclass(frozen=True)
class AnswerPanel:
    """The answer's widgets."""

    widgets: dict[str, Any]  # by the names that views use
    bank_maker: BankMaker  # for the models of the answer
    exports: Widgets  # texts to hand over


def build_answer_panel(texts: Texts) -> AnswerPanel:
    """Lay out the answer from top to bottom."""
    widgets: dict[str, Any] = {}
    with gr.Column(elem_id="answer-part"):
        gr.Markdown("## " + texts("step3"))
        widgets["progress"] = gr.HTML(elem_id="progress", padding=False, min_height=40)
        widgets["stale"] = gr.HTML(elem_id="stale", padding=False)
        widgets["answer"] = gr.HTML(elem_id="answer", padding=False)
        widgets["pictures"] = gr.HTML(elem_id="shown", padding=False)
        with gr.Column(visible=False, elem_id="now") as now:
            gr.Markdown("### " + texts("now.title"))
            widgets["evidence"] = gr.DownloadButton(texts("evidence"), elem_id="evidence", min_width=200)
            widgets["seal"] = gr.Textbox(
                label=texts("seal"), info=texts("seal.info"), interactive=False, buttons=["copy"], elem_id="seal"
            )
            widgets["steps"] = gr.HTML(elem_id="steps", padding=False)
            with gr.Column(visible=False, elem_id="more-power") as more_power:
                maker = build_bank_maker(texts, "answer-bank")
            widgets["more_power"] = more_power
            exports = build_export_panel(texts)
        widgets["now"] = now
        widgets["why"] = gr.HTML(elem_id="why", padding=False)
        widgets["about_lineup"] = gr.HTML(elem_id="about-lineup", padding=False)
        with gr.Row(elem_classes="buttons"):
            widgets["observe"] = gr.Button(texts("lineup.observe"), visible=False, elem_id="observe", min_width=200)
            widgets["sheet"] = gr.DownloadButton(texts("lineup.sheet"), visible=False, elem_id="sheet", min_width=200)
        widgets["history"] = gr.Dropdown([], label=texts("history"), visible=False, elem_id="history")
    of_answer = {"bank": maker.filled, "export": exports}
    widgets |= {f"{prefix}_{name}": widget for prefix, of in of_answer.items() for name, widget in of.items()}
    return AnswerPanel(widgets, maker, exports)
