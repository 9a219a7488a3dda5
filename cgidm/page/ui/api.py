"""The same for programs and agents: named endpoints with types and docstrings, for `gradio_client` and MCP.

Results are files and plain data. Nothing is kept for a visit: what a call leaves is swept an hour later.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from cgidm import UserError
from cgidm.evidence.record_json import to_json
from cgidm.evidence.record_of_result import image_name, image_roles

from ..handlers.request import Request, make_request
from ..handlers.suspect import inspect_suspect
from ..handlers.visitor import visitor_token
from ..runs.background import execute_when_free
from ..runs.settings import PRESET_NAMES
from ..runs.store import Visit
from .widgets import pass_file_through
from .wiring import GPU

Answer = tuple[dict[str, Any], list[str] | None, str | None]


def inspect(suspect: str, upload: str | None, oauth_token: gr.OAuthToken | None) -> dict[str, Any]:
    """Say what a model file is, from names and safetensors headers alone; nothing is loaded and no GPU is used.

    Args:
        suspect: a model on the Hub (owner/name, owner/name@revision/folder/file.safetensors, a link) or on Civitai (a
            link, an AIR); else empty.
        upload: a .safetensors file, instead of a name.

    Returns:
        kind, family, guessed public base and prompt, adapter method and ranks, sizes, SHA-256 of the weights, notes.
    """
    try:
        return inspect_suspect(suspect, upload, oauth_token)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def authenticate(
    picture: str,
    suspect: str,
    upload: str | None,
    base: str,
    prompt: str,
    controls: list[str] | None,
    preset: str,
    seed: float,
    steps: float,
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
    of 1 %, "weak evidence" to 5 %.

    Args:
        picture: the picture, unaltered.
        suspect: a model on the Hub or Civitai, or shipped:gerald-g-dreambooth, shipped:rollandin-lora. Empty if a file
            is given.
        upload: a .safetensors file, instead of a name.
        base: the public model that the suspect was made from, or shipped:mini.
        prompt: the prompt that the suspect was trained with; may be empty.
        controls: at least 19 pictures that were certainly not used; of a shipped suspect, none are needed.
        preset: fast or paper.
        seed: of every random draw.
        steps: recovery steps, instead of the preset's; 0 for the preset's.
        search: also look for mirrored, cropped, compressed ... copies: seven views of every picture and control.
        bank: a bank.json of null models, as `cgidm bank` writes it, instead of controls.
        lineup: panels of a line-up for a blind observer, 2 to 20: the evidence then also shows each picture among
            control pictures that were recovered too, which costs as many more recoveries. 0 for none. Not with a bank.
        unrelated: a suspect of the same base that was trained on other pictures, named as `suspect` is: it must find
            nothing. May be empty. Not with a bank.

    Returns:
        While it runs, {"phase", "done", "of"}. With the phase "answered" comes the answer: before the recovery, on
        which it does not rest. At the end the record (outcome, reason, p-value, scores, flags, configuration, hashes),
        the original, partial and recovered picture and what was recovered from its mirror image, as lossless PNGs, and
        a zip with all evidence.
    """
    named = {"suspect": suspect, "upload": upload, "base": base, "prompt": prompt, "preset": preset, "seed": seed}
    options = {"steps": steps, "search": search, "bank": bank, "lineup": lineup, "unrelated": unrelated}
    request = make_request({"picture": picture, "controls": controls, **named, **options})
    yield from _answers(request, 1, oauth_token)


def portfolio(
    pictures: list[str],
    suspect: str,
    upload: str | None,
    base: str,
    prompt: str,
    controls: list[str] | None,
    preset: str,
    seed: float,
    steps: float,
    search: bool = False,
    bank: str | None = None,
    lineup: float = 0,
    unrelated: str = "",
    oauth_token: gr.OAuthToken | None = None,
) -> Iterator[Answer]:
    """Judge 2 to 30 pictures together: one answer for the set by a permutation test, and one for each picture.

    Args:
        pictures: the pictures, unaltered.
        suspect: a model on the Hub or Civitai, or a shipped one. Empty if a file is given.
        upload: a .safetensors file, instead of a name.
        base: the public model that the suspect was made from, or shipped:mini.
        prompt: the prompt that the suspect was trained with; may be empty.
        controls: pictures that were certainly not used; of a shipped suspect, none are needed.
        preset: fast or paper.
        seed: of every random draw.
        steps: recovery steps, instead of the preset's; 0 for the preset's.
        search: also look for mirrored, cropped, compressed ... copies: seven views of every picture and control.
        bank: a bank.json of null models, as `cgidm bank` writes it, instead of controls.
        lineup: panels of a line-up for a blind observer, 2 to 20: the evidence then also shows each picture among
            control pictures that were recovered too, which costs as many more recoveries. 0 for none. Not with a bank.
        unrelated: a suspect of the same base that was trained on other pictures, named as `suspect` is: it must find
            nothing. May be empty. Not with a bank.

    Returns:
        The record with the set's answer and each picture's, every picture's PNGs in order, and a zip with all evidence.
    """
    named = {"suspect": suspect, "upload": upload, "base": base, "prompt": prompt, "preset": preset, "seed": seed}
    options = {"steps": steps, "search": search, "bank": bank, "lineup": lineup, "unrelated": unrelated}
    request = make_request({"picture": pictures, "controls": controls, **named, **options})
    yield from _answers(request, 2, oauth_token)


def _answers(request: Request, fewest: int, oauth_token: gr.OAuthToken | None) -> Iterator[Answer]:
    try:
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
        picture = gr.Image(label="picture", type="filepath", image_mode=None, format="png")
        pass_file_through(picture)
        pictures = gr.File(label="pictures", file_count="multiple", type="filepath")
        suspect = gr.Textbox(label="suspect")
        upload = gr.File(label="upload", type="filepath", file_types=[".safetensors"])
        base = gr.Textbox("shipped:mini", label="base")
        prompt = gr.Textbox(label="prompt")
        controls = gr.File(label="controls", file_count="multiple", type="filepath")
        preset = gr.Radio(list(PRESET_NAMES), value="fast", label="preset")
        seed, steps = gr.Number(0, label="seed"), gr.Number(0, label="steps")
        search = gr.Checkbox(False, label="search")
        bank = gr.File(label="bank", type="filepath", file_types=[".json"])
        lineup = gr.Number(0, label="lineup")
        unrelated = gr.Textbox(label="unrelated")
        record = gr.JSON(label="record")
        images = gr.File(label="pictures, lossless PNGs", file_count="multiple", type="filepath")
        evidence = gr.File(label="evidence", type="filepath")
        rest = [suspect, upload, base, prompt, controls, preset, seed, steps, search, bank, lineup, unrelated]
        answers = [record, images, evidence]
        button = gr.Button()
    button.click(inspect, [suspect, upload], record, api_name="inspect", concurrency_limit=4)
    button.click(authenticate, [picture, *rest], answers, api_name="authenticate", **GPU)
    button.click(portfolio, [pictures, *rest], answers, api_name="portfolio", **GPU)
