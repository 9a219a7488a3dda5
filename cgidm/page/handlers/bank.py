"""*Make a bank*: the commands that train one for the models of the form, or for those of an answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from cgidm import UserError

from ..html.bank import bank_html
from ..html.markup import note_html
from ..html.progress import error_html
from ..html.views import View, no_commands
from ..runs.bank_commands import BankModels, choose_flavor, job_command, own_command
from ..runs.bank_cost import count_bank
from ..runs.model_cache import open_base, open_suspect
from .form import answered_form
from .request import make_request
from .visitor import visitor_token


def bank_view(form: Mapping[str, Any], language: str, oauth_token: gr.OAuthToken | None) -> View:
    """Show the commands for the models of a form, and what they cost; or why there is no such bank.

    Only names, headers and configurations are read.
    """
    request = make_request({"preset": None, "seed": 0} | dict(form))
    models = BankModels(
        base=request.base.strip(),
        suspect="" if request.upload else request.suspect.strip(),
        upload=None if request.upload is None else Path(request.upload).name,
        prompt=request.prompt,
    )
    token = visitor_token(oauth_token)
    try:
        models.check()
        suspect = open_suspect(models.suspect, request.upload, token)
        if not models.base:
            raise UserError("page.no_base")
        base = open_base(models.base, token)
        cost = count_bank(base, suspect, len(request.pictures) + len(request.controls))
    except UserError as error:
        return no_commands() | {"about": error_html(note_html(error.note, language), language)}
    flavor = choose_flavor(cost.needed)
    job = "" if flavor is None else job_command(models, flavor)
    return {
        "about": bank_html(cost, models, language, seed=form.get("seed")),
        "own": gr.update(value=own_command(models), visible=True),
        "job": gr.update(value=job, visible=flavor is not None),
    }


def answered_bank_view(
    token: str | None, current: str | None, language: str, oauth_token: gr.OAuthToken | None
) -> View:
    """Do the same for the models of the answer that is shown; nothing, if there is none."""
    form = answered_form(token, current)
    return {} if form is None else bank_view(form, language, oauth_token)
