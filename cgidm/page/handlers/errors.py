"""A refusal as the page shows it: one sentence in the visitor's language."""

from html import escape

import gradio as gr

from cgidm import UserError

from ..html.i18n import translate, translate_note


def refusal(error: UserError | str, language: str) -> gr.Error:
    """Make the exception to raise. Gradio renders it as HTML and would log it.

    It quotes what somebody typed, sent or noted in a file: it is escaped, and not logged.
    """
    sentence = error if isinstance(error, str) else translate_note(language, error.note)
    return gr.Error(escape(sentence), title=translate(language, "error.title"), print_exception=False)
