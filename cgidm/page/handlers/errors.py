"""A refusal as the page shows it: one sentence, in a message that gradio renders as HTML."""

from html import escape

import gradio as gr

from cgidm import UserError

from ..html.i18n import translate


def refusal(error: UserError | str, language: str) -> gr.Error:
    """What to raise. It quotes what somebody typed, sent or noted in a file: shown as text, and not logged."""
    return gr.Error(escape(str(error)), title=translate(language, "error.title"), print_exception=False)
