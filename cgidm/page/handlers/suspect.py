"""What the button *Check the model* does, and the base and prompt that belong to a shipped suspect."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from cgidm import UserError
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.resources import SHIPPED, SHIPPED_BASE

from ..html.views import View
from ..runs.model_cache import EXAMPLES, open_suspect, shipped_prompt
from .errors import refusal
from .visitor import visitor_token


def check_suspect(suspect: str | None, upload: str | None, language: str, oauth_token: gr.OAuthToken | None) -> View:
    """Describe the suspect, and fill in its public base and prompt where they can be guessed.

    Only names and headers are read. A file goes before the name beside it.
    """
    try:
        found = inspect_suspect(suspect, upload, oauth_token)
    except UserError as error:
        raise refusal(error, language) from error
    view: View = {"report": gr.update(value="\n".join(report_lines(found)), visible=True)}
    guesses = {name: found[name] for name in ("base", "prompt") if found[name]}
    return view | guesses | ({} if upload else shipped_pair(suspect))


def inspect_suspect(suspect: str | None, upload: str | None, oauth_token: gr.OAuthToken | None) -> dict[str, Any]:
    """Inspect what a visitor names or uploads. The only token used is their own.

    Raises:
        UserError: if it cannot be found, or is no checkpoint.
    """
    return inspect_checkpoint(open_suspect("" if upload else suspect or "", upload, visitor_token(oauth_token)))


def known_models(form: Mapping[str, Any], oauth_token: gr.OAuthToken | None) -> dict[str, Any]:
    """Fill in the base and prompt that a program left out, as the suspect itself tells them.

    Raises:
        UserError: if the suspect cannot be found, or does not tell its base.
    """
    suspect, upload = form.get("suspect") or "", form.get("upload")
    found = {"base": (form.get("base") or "").strip(), "prompt": form.get("prompt")}
    if found["base"] and found["prompt"] is not None:
        return {**form, **found}
    told: Mapping[str, Any] = {} if upload else shipped_pair(suspect)
    told = told or inspect_suspect(suspect, upload, oauth_token)
    known = {"base": found["base"] or told["base"] or "", "prompt": found["prompt"]}
    return {**form, **known, "prompt": (told["prompt"] or "") if known["prompt"] is None else known["prompt"]}


def shipped_pair(suspect: str | None) -> View:
    """Return base and prompt of a shipped suspect; of any other, nothing is known before it is checked."""
    name = (suspect or "").removeprefix(SHIPPED)
    return {"base": SHIPPED_BASE, "prompt": shipped_prompt(name)} if name in EXAMPLES else {}
