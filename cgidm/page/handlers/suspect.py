"""Which model is suspected: what somebody typed is a name to check or words to search for; a file is checked."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from cgidm import UserError
from cgidm.intake.inspect import inspect_checkpoint
from cgidm.intake.layout import Checkpoint
from cgidm.intake.source import PICKLES
from cgidm.resources import SHIPPED, SHIPPED_BASE

from ..html.fits import judged_html
from ..html.markup import html_text
from ..html.model_card import found_models_html, model_card_html, refused_card_html
from ..html.views import View
from ..runs.hub_search import search_models
from ..runs.model_cache import EXAMPLES, open_suspect, shipped_prompt
from ..runs.thumbnails import model_thumbnail
from .pictures import RESOLUTIONS, USUAL_RESOLUTION, KnownFraming
from .request import file_list
from .visitor import key_view, visitor_key, visitor_token, wants_key

SHORTEST_QUERY = 3  # characters
SHIPPED_RESOLUTION = 128
THUMBNAIL_PATIENCE = 8.0  # seconds for the pictures of all models found


@dataclass(frozen=True)
class Suspected:
    """What was typed or uploaded."""

    name: str
    uploads: Sequence[str]

    @property
    def upload(self) -> str | None:
        """The weights' file."""
        return next((path for path in self.uploads if not path.lower().endswith(".json")), None)

    @property
    def is_query(self) -> bool:
        """Whether it is words to search for: no name of a repository, no link, no file."""
        text = self.name.strip().strip("\"'")
        return not self.uploads and not ({"/", ":", "\\"} & set(text)) and Path(text).suffix.lower() not in PICKLES


def look_up(
    name: str | None,
    uploads: Any,
    base: str | None,
    language: str,
    oauth_token: gr.OAuthToken | None,
    *,
    civitai_key: str | None = None,
    fill: bool = True,
) -> View:
    """Check the model that was named or uploaded, or search the Hub for words; only names and headers are read.

    Args:
        name: what stands in the field.
        uploads: files, which go before the name.
        base: what a search is limited to, if it is the id of a repository.
        language: the visitor's language.
        oauth_token: the visitor's own.
        civitai_key: the visitor's own, as it was typed; it goes to Civitai alone, and is not kept.
        fill: also fill in base and prompt, where they can be guessed.
    """
    suspected = Suspected(name or "", file_list(uploads))
    empty: View = {"card": "", "found": "", "framing": None}
    if not suspected.uploads and not suspected.name.strip():
        return empty
    if suspected.is_query:
        return empty | _search(suspected.name.strip(), base, language, visitor_token(oauth_token))
    try:
        with _opened(suspected, visitor_token(oauth_token), visitor_key(civitai_key)) as checkpoint:
            found = inspect_checkpoint(checkpoint)
            metadata = dict(checkpoint.metadata)
    except UserError as error:
        more = html_text(language, "key.offer") if wants_key(error) else ""
        return empty | key_view(error) | {"card": refused_card_html(error.note, _label(suspected), language, more)}
    shipped = {} if suspected.uploads else shipped_pair(suspected.name)
    card = model_card_html(
        found,
        language,
        name=_label(suspected),
        judged=judged_html(found, language, shipped=bool(shipped)),
        shipped_base=shipped.get("base"),
    )
    resolution = SHIPPED_RESOLUTION if shipped else RESOLUTIONS.get(found["family"] or "", USUAL_RESOLUTION)
    view = empty | {"card": card, "framing": KnownFraming(metadata=metadata, resolution=resolution)}
    guesses = {key: found[key] for key in ("base", "prompt") if found[key]} | shipped
    return view | (guesses if fill else {})


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
    name = (suspect or "").strip().removeprefix(SHIPPED)
    known = (suspect or "").strip().startswith(SHIPPED) and name in EXAMPLES
    return {"base": SHIPPED_BASE, "prompt": shipped_prompt(name)} if known else {}


@contextmanager
def _opened(suspected: Suspected, token: str | None, civitai_key: str | None) -> Iterator[Checkpoint]:
    """Open the model; an uploaded adapter_config.json lies beside the weights for as long as that takes."""
    upload = suspected.upload
    if upload is None or len(suspected.uploads) == 1:
        if upload is None and suspected.uploads:
            raise UserError("page.config_alone")
        yield open_suspect("" if upload else suspected.name, upload, token, civitai_key)
        return
    folder = Path(tempfile.mkdtemp(prefix="cgidm-check-"))
    try:
        for path in suspected.uploads:
            (folder / Path(path).name).symlink_to(path)
        yield open_suspect("", str(folder / Path(upload).name), token)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _search(words: str, base: str | None, language: str, token: str | None) -> View:
    """Search, and fetch the pictures of what was found."""
    if len(words) < SHORTEST_QUERY:
        return {}
    try:
        found = search_models(words, base if base and "/" in base else None, token)
    except UserError as error:
        return {"card": refused_card_html(error.note, "", language)}
    pool = ThreadPoolExecutor(max(1, len(found)))
    tasks = [pool.submit(model_thumbnail, model) for model in found]
    pool.shutdown(wait=False)
    done, _ = wait(tasks, THUMBNAIL_PATIENCE)
    pictures = [t.result() if t in done and t.exception() is None else None for t in tasks]
    return {"found": found_models_html(found, pictures, language)}


def _label(suspected: Suspected) -> str:
    upload = suspected.upload
    return suspected.name.strip().removeprefix(SHIPPED) if upload is None else Path(upload).name
