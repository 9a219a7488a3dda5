"""The same for programs and agents: named endpoints with types and docstrings, for `gradio_client` and MCP.

Results are files and plain data; `schemas` has the schema of each. Only what a person would give must be given. Nothing
is kept for a visit: what a call leaves is swept an hour later. Each argument has one line: gradio reads no more.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from typing import Any

import gradio as gr

from cgidm import UserError
from cgidm.evidence.record_json import to_json
from cgidm.evidence.record_of_result import image_name, image_roles
from cgidm.evidence.standalone.record_schema import record_schema

from ..handlers.check import check_bundle, count_choices
from ..handlers.request import Request, make_request
from ..handlers.suspect import inspect_suspect, known_models
from ..handlers.visitor import visitor_token
from ..runs.background import execute_when_free
from ..runs.settings import PRESET_NAMES
from ..runs.store import Visit
from .handed_files import file_field, whole_number_field
from .wiring import GPU

Answer = tuple[dict[str, Any], list[str] | None, str | None]
ADDRESS: dict[str, Any] = {"type": "string", "description": "an address of this page, for an hour"}
PLAIN: dict[str, Any] = {"type": "object"}
PICTURES = {"pictures": {"type": "array", "items": ADDRESS, "description": "lossless PNGs, in the order of roles"}}


def schemas() -> dict[str, dict[str, dict[str, Any]]]:
    """The answers of each endpoint, by name, and the JSON schema of each."""
    judged = {"record": record_schema(), **PICTURES, "evidence": ADDRESS}
    return {
        "inspect": {"model": PLAIN},
        "authenticate": judged,
        "portfolio": judged,
        "lineup": {"choices": PLAIN},
        "verify": {"findings": {**PLAIN, "properties": {"record": {"anyOf": [record_schema(), {"type": "null"}]}}}},
    }


def _in_sentences(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Let what cannot be done reach the program as one sentence."""

    @wraps(endpoint)
    def answer(*given: Any, **named: Any) -> Any:
        try:
            return endpoint(*given, **named)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return answer


@_in_sentences
def inspect(suspect: str = "", upload: str | None = None, oauth_token: gr.OAuthToken | None = None) -> dict[str, Any]:
    """Say what a model file is, from names and safetensors headers alone; nothing is loaded and no GPU is used.

    Args:
        suspect: a model on the Hub (owner/name, a link) or on Civitai (a link, an AIR), or shipped:rollandin-lora.
        upload: a .safetensors file, instead of a name.

    Returns:
        kind, family, guessed public base and prompt, adapter method and ranks, sizes, SHA-256 of the weights, notes.
    """
    return inspect_suspect(suspect, upload, oauth_token)


def authenticate(
    picture: str,
    suspect: str = "",
    upload: str | None = None,
    base: str = "",
    prompt: str | None = None,
    controls: list[str] | None = None,
    preset: str = "fast",
    seed: float = 0,
    steps: float = 0,
    search: bool = False,
    bank: str | None = None,
    lineup: float = 0,
    unrelated: str = "",
    oauth_token: gr.OAuthToken | None = None,
) -> Iterator[Answer]:
    """Judge whether a picture was used to train a fine-tuned diffusion model (LoRA, DreamBooth, textual inversion).

    The mirror test asks whether the suspect knows the picture better than its mirror image; controls say what its
    silence means. Half of the picture is also removed and recovered by maximising the contrast between the public base
    model and the suspect (CGI-DM, CVPR 2024). The answer is statistical: "consistent" is held to a false-positive rate
    of 1 %, "weak evidence" to 5 %. "No evidence" does not mean that the picture was not used.

    Args:
        picture: the picture, unaltered.
        suspect: a model on the Hub or Civitai (name or link), or shipped:rollandin-lora, shipped:gerald-g-dreambooth.
        upload: a .safetensors file, instead of a name.
        base: the public model that the suspect was made from. Left out: as the suspect's file tells.
        prompt: the prompt that the suspect was trained with, may be blank. Left out: as the suspect's notes tell.
        controls: at least 19 works of the same artist, certainly not used; may be left out.
        preset: fast or paper.
        seed: of every random draw.
        steps: recovery steps, instead of the preset's; 0 for the preset's.
        search: also look for mirrored, cropped, compressed ... copies: seven views of every picture and control.
        bank: a bank.json of null models, as `cgidm bank` writes it, instead of controls.
        lineup: panels of a line-up for a blind observer, 2 to 20, which takes as many more recoveries; 0 for none.
        unrelated: a suspect of the same base trained on other pictures, which must find nothing. Not with a bank.

    Returns:
        While it runs, {"phase", "done", "of"}. With the phase "answered" comes the answer: before the recovery, on
        which it does not rest. At the end the record (outcome, reason, p-value, scores, flags, configuration, hashes),
        the original, partial and recovered picture and what was recovered from its mirror image, as lossless PNGs, and
        a zip with all evidence.
    """
    named = {"suspect": suspect, "upload": upload, "base": base, "prompt": prompt, "preset": preset, "seed": seed}
    options = {"steps": steps, "search": search, "bank": bank, "lineup": lineup, "unrelated": unrelated}
    yield from _answers({"picture": picture, "controls": controls, **named, **options}, 1, oauth_token)


def portfolio(
    pictures: list[str],
    suspect: str = "",
    upload: str | None = None,
    base: str = "",
    prompt: str | None = None,
    controls: list[str] | None = None,
    preset: str = "fast",
    seed: float = 0,
    steps: float = 0,
    search: bool = False,
    bank: str | None = None,
    lineup: float = 0,
    unrelated: str = "",
    oauth_token: gr.OAuthToken | None = None,
) -> Iterator[Answer]:
    """Judge 2 to 30 pictures together: one answer for the set by a permutation test, and one for each picture.

    Args:
        pictures: the pictures, unaltered.
        suspect: a model on the Hub or Civitai (name or link), or shipped:rollandin-lora, shipped:gerald-g-dreambooth.
        upload: a .safetensors file, instead of a name.
        base: the public model that the suspect was made from. Left out: as the suspect's file tells.
        prompt: the prompt that the suspect was trained with, may be blank. Left out: as the suspect's notes tell.
        controls: at least 19 works of the same artist, certainly not used; may be left out.
        preset: fast or paper.
        seed: of every random draw.
        steps: recovery steps, instead of the preset's; 0 for the preset's.
        search: also look for mirrored, cropped, compressed ... copies: seven views of every picture and control.
        bank: a bank.json of null models, as `cgidm bank` writes it, instead of controls.
        lineup: panels of a line-up for a blind observer, 2 to 20, which takes as many more recoveries; 0 for none.
        unrelated: a suspect of the same base trained on other pictures, which must find nothing. Not with a bank.

    Returns:
        The record with the set's answer and each picture's, every picture's PNGs in order, and a zip with all evidence.
    """
    named = {"suspect": suspect, "upload": upload, "base": base, "prompt": prompt, "preset": preset, "seed": seed}
    options = {"steps": steps, "search": search, "bank": bank, "lineup": lineup, "unrelated": unrelated}
    yield from _answers({"picture": pictures, "controls": controls, **named, **options}, 2, oauth_token)


@_in_sentences
def verify(bundle: str, signer: str = "") -> dict[str, Any]:
    """Say what a zip of evidence shows by itself: whole, consistent in itself, signed; and what it states.

    Args:
        bundle: the zip, as it was handed over.
        signer: the SHA-256 of the Ed25519 key that it must be signed with; may be left out.

    Returns:
        whole, consistent, signed, seal, what is wrong, what could not be derived, what nothing shows, and the record.
    """
    return check_bundle(bundle, signer.strip() or None)


@_in_sentences
def lineup(bundle: str, picks: str) -> dict[str, Any]:
    """Count what one observer of a line-up chose: hits, p-value, and which choices were right.

    Args:
        bundle: the zip of evidence that holds the line-up.
        picks: one letter for each round, with commas between; "-" for "I cannot tell".

    Returns:
        hits, rounds, p_value, reason, and for each round the pick, the answer and whether the pick was right.
    """
    return count_choices(bundle, picks)


def _answers(form: dict[str, Any], fewest: int, oauth_token: gr.OAuthToken | None) -> Iterator[Answer]:
    try:
        request: Request = make_request(known_models(form, oauth_token))
        request.check(fewest)
        run = request.begin(Visit())
        with closing(execute_when_free(run, visitor_token(oauth_token))) as events:
            for event in events:
                if event.phase == "paused":
                    raise UserError("page.no_gpu", reason=event.trouble)
                if event.phase != "finished":
                    told = {"phase": event.phase, "done": event.done, "of": event.of}
                    if event.phase == "answered" and event.result is not None:
                        told["answer"] = event.result.to_dict()
                    yield told, None, None
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
    record = run.record()
    assert record is not None
    images = [
        str(run.public_dir / image_name(i, role)) for i in range(len(record.pictures)) for role in image_roles(record)
    ]
    yield to_json(record), images, str(run.public_dir / "evidence.zip")


def build_api() -> None:
    """Hidden widgets that give the endpoints their types."""
    with gr.Row(visible=False):
        picture, pictures = file_field("picture"), file_field("pictures", several=True)
        suspect = gr.Textbox("", label="suspect")
        upload = file_field("upload")
        base = gr.Textbox("", label="base")
        prompt = gr.Textbox(label="prompt")
        controls = file_field("controls", several=True)
        preset = gr.Radio(list(PRESET_NAMES), value="fast", label="preset")
        seed, steps = whole_number_field("seed"), whole_number_field("steps")
        search = gr.Checkbox(False, label="search")
        bank = file_field("bank")
        panels = whole_number_field("lineup")
        unrelated = gr.Textbox("", label="unrelated")
        bundle, signer, picks = file_field("bundle"), gr.Textbox("", label="signer"), gr.Textbox(label="picks")
        record = gr.JSON(label="record")
        images = gr.File(label="pictures, lossless PNGs", file_count="multiple", type="filepath")
        evidence = gr.File(label="evidence", type="filepath")
        rest = [suspect, upload, base, prompt, controls, preset, seed, steps, search, bank, panels, unrelated]
        answers = [record, images, evidence]
        button = gr.Button()
    button.click(inspect, [suspect, upload], record, api_name="inspect", concurrency_limit=4)
    button.click(authenticate, [picture, *rest], answers, api_name="authenticate", **GPU)
    button.click(portfolio, [pictures, *rest], answers, api_name="portfolio", **GPU)
    check: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "check"}
    button.click(verify, [bundle, signer], record, api_name="verify", **check)
    button.click(lineup, [bundle, picks], record, api_name="lineup", **check)
