"""What a request tells of a visitor: their language, their own token for the Hub, and their own key for Civitai."""

import gradio as gr

from cgidm import UserError
from cgidm.intake.civitai.client import is_key

from ..html.i18n import choose_language
from ..html.views import View

# refusals of Civitai that the key of an account may lift
OF_ACCOUNTS = ("intake.civitai_gated", "intake.civitai_forbidden", "intake.civitai_early_access", "page.civitai_key")


def visitor_language(request: gr.Request | None) -> str:
    """Return the visitor's language, as their browser states it."""
    return choose_language(request.headers.get("accept-language") if request else None)


def visitor_token(oauth_token: gr.OAuthToken | None) -> str | None:
    """Return the visitor's own token, if they have logged in; never the operator's."""
    return None if oauth_token is None else oauth_token.token


def visitor_key(typed: str | None) -> str | None:
    """Return the visitor's own key for Civitai, if they typed one; never the operator's.

    Raises:
        UserError: if it can be none. It does not quote what was typed.
    """
    key = (typed or "").strip()
    if key and not is_key(key):
        raise UserError("page.civitai_key")
    return key or None


def wants_key(error: UserError) -> bool:
    """Whether a key of the visitor's own may lift a refusal."""
    return error.code in OF_ACCOUNTS


def key_view(error: UserError) -> View:
    """Show the field for a key where a refusal is about accounts."""
    return {"key_part": gr.update(visible=True, open=True)} if wants_key(error) else {}
