"""What a request tells of a visitor: their language, and their own token for the Hub."""

import gradio as gr

from ..html.i18n import choose_language


def visitor_language(request: gr.Request | None) -> str:
    """Return the visitor's language, as their browser states it."""
    return choose_language(request.headers.get("accept-language") if request else None)


def visitor_token(oauth_token: gr.OAuthToken | None) -> str | None:
    """Return the visitor's own token, if they have logged in; never the operator's."""
    return None if oauth_token is None else oauth_token.token
