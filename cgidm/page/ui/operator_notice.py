"""Who serves the page, as they state it in variables of its environment: an imprint, or the lack of one."""

import os
from collections.abc import Mapping

import gradio as gr

from cgidm.messages.text import single_line

from .wiring import Texts

# field -> the variable that states it
FIELDS = {
    "operator": "CGIDM_OPERATOR",
    "contact": "CGIDM_CONTACT",
    "place": "CGIDM_PLACE",
    "host": "CGIDM_HOST",
}
MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]()#+!|<>~"})


def build_operator_notice(texts: Texts, environment: Mapping[str, str] = os.environ) -> None:
    """Lay out what the operator states; where it is nothing, say so."""
    stated = {field: single_line(environment.get(name, "")) for field, name in FIELDS.items()}
    gr.Markdown("## " + texts("operator.title"), elem_id="operator")
    if not any(stated.values()):
        gr.Markdown(texts("operator.none"), elem_classes="read")
    for field, value in stated.items():
        if value:
            gr.Markdown(f"**{texts(f'operator.{field}')}:** {value.translate(MARKDOWN)}", elem_classes="read")
    gr.Markdown(texts("operator.own"), elem_classes="read")
