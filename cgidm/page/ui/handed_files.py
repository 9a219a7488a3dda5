"""Files and numbers as programs hand them over: files by upload, address, base64, or by a path that is allowed.

A program that speaks MCP has only texts. So each file of an endpoint is a text, or what gradio's client uploads.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder

from cgidm import UserError

from ..runs.settings import FILES_FOLDER
from ..runs.store import ROOT

MOST_TEXT = 140_000_000  # characters of base64: a picture or zip of 100 MB
SERVED = "/gradio_api/file="  # before the path of an upload in an address of this page
ACCEPTED = "an uploaded file, an http(s) address, or data:...;base64,..."


def file_field(label: str, *, several: bool = False) -> gr.Textbox:
    """A hidden field for one file or several, which reaches the handler as a path or a list of paths."""
    field = gr.Textbox(label=label)
    one = {"type": "string", "format": ACCEPTED}
    example = "https://example.org/picture.png"

    def bring(payload: Any) -> Any:
        try:
            if not several:
                return find_file(payload)
            listed = payload if isinstance(payload, list) else [payload]
            return [path for path in map(find_file, listed) if path is not None]
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    # of the field alone: gradio writes a file beside the module of a class
    told: Any = field
    told.preprocess = bring
    told.api_info = told.api_info_as_input = lambda: {"type": "array", "items": one} if several else one
    told.example_payload = lambda: [example] if several else example
    return field


def whole_number_field(label: str) -> gr.Number:
    """A hidden field for a whole number, 0 if left out. Another number is refused where it is used, and not rounded."""
    field = gr.Number(0, label=label)
    told: Any = field
    told.api_info = told.api_info_as_input = lambda: {"type": "integer"}
    return field


def find_file(given: Any) -> str | None:
    """Return the path of a file that a program handed over; None for none.

    Raises:
        UserError: if it is out of reach, or no file that a program may name.
    """
    if given is None or given == "":
        return None
    if isinstance(given, dict):
        given = given.get("path") if given.get("meta", {}).get("_type") == "gradio.FileData" else None
    if not isinstance(given, str):
        raise UserError("page.file_not_handed", given=f"{given!r:.60}", accepted=ACCEPTED)
    if given.startswith("data:"):
        return _decode(given)
    if given.startswith(("http://", "https://")):
        path = urlsplit(given).path
        return _known_path(unquote(path.partition(SERVED)[2])) if SERVED in path else _fetch(given)
    return _known_path(given)


def _decode(given: str) -> str:
    if len(given) > MOST_TEXT or ";base64," not in given[:200]:
        raise UserError("page.file_not_base64", accepted=ACCEPTED, most=MOST_TEXT)
    try:
        return processing_utils.save_base64_to_cache(given, get_upload_folder())
    except Exception as error:  # whatever a library says to what is no base64
        raise UserError("page.file_not_base64", accepted=ACCEPTED, most=MOST_TEXT) from error


def _fetch(address: str) -> str:
    """Ask an address of the public internet; one of a machine behind the page is refused."""
    try:
        return processing_utils.ssrf_protected_download(address, get_upload_folder())
    except Exception as error:
        raise UserError("page.file_not_fetched", given=address, problem=f"{error}"[:120], accepted=ACCEPTED) from error


def _known_path(given: str) -> str:
    """A path of an upload or a result, whose names cannot be guessed, or in the folder that the operator names."""
    path, folder = Path(given).expanduser(), os.environ.get(FILES_FOLDER)
    own = [Path(get_upload_folder()), ROOT / "shown", *([Path(folder)] if folder else [])]
    allowed = [each.resolve() for each in own]
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        found = None
    if found is None or not found.is_file() or not any(found.is_relative_to(a) for a in allowed):
        code = "page.file_not_in_folder" if folder else "page.file_not_handed"
        raise UserError(code, given=f"{given:.120}", accepted=ACCEPTED, folder=folder or "")
    return str(found)
