"""The page: widgets <-> cgidm. Run it with `python app.py`."""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch

from cgidm import ModelPair, UserError
from cgidm.authenticate import PictureResult, run_pictures, score_controls
from cgidm.config import PRESETS, find_preset
from cgidm.evidence import CAVEAT
from cgidm.families import load_pair
from cgidm.images import read_picture
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.layout import open_checkpoint, read_layout
from cgidm.intake.listing import LocalListing
from cgidm.similarity import Embedders, load_embedders

ASSETS = Path(__file__).parent / "assets"
BASE = ASSETS / "mini"
EXAMPLES = sorted(p.parent.name for p in (ASSETS / "examples").glob("*/example.json"))
PREVIEW_EVERY = 4  # steps
# uploads lie in gradio's cache, each in a folder named by the hash of its content, and go when they are this old
UPLOADS = (3600, 7200)  # seconds: how often it is looked, and their age


@lru_cache(maxsize=4)
def example_pair(name: str) -> ModelPair:
    about = json.loads((ASSETS / "examples" / name / "example.json").read_text())
    return load_pair(str(BASE), str(ASSETS / "examples" / name / "checkpoint"), about["prompt"])


@lru_cache(maxsize=1)
def embedders() -> Embedders:
    return load_embedders()


@lru_cache(maxsize=8)
def control_scores(name: str, preset: str) -> tuple[float, ...]:
    pair = example_pair(name)
    controls = [read_picture(p, pair.side) for p in sorted((ASSETS / "controls" / name).iterdir())]
    return score_controls(pair, controls, find_preset(preset))


def authenticate(path: str | None, example: str, preset: str) -> Iterator[tuple[Any, Any, Any, str]]:
    """Judge one picture against an example suspect, yielding (original, partial, recovered, text) as it goes."""
    if path is None:
        raise gr.Error("No picture was given; accepted: one picture file.")
    try:
        pair, config = example_pair(example), find_preset(preset)
        picture = read_picture(Path(path), pair.side)
    except UserError as error:
        raise gr.Error(str(error).replace(str(Path(path).parent) + "/", "")) from error
    yield pixels(picture.image), None, None, "Scoring the control pictures …"
    run = run_pictures(pair, [picture], control_scores(example, preset), config, embedders())
    while True:
        try:
            step = next(run)
        except StopIteration as end:
            (result,) = end.value
            break
        if step.index % PREVIEW_EVERY == 0:
            text = f"Recovering: step {step.index + 1} of {config.recovery.steps}"
            yield pixels(picture.image), None, pixels(pair.codec.decode(step.z)[0]), text
    yield pixels(picture.image), pixels(result.partial), pixels(result.recovered), answer_text(result)


def check_model(link: str, upload: str | None) -> tuple[str, str, str]:
    """What a model on the Hub or an uploaded file is, from its names and headers: (report, public base, prompt).

    A visitor names no path of the server's, and nobody's token is used.
    """
    if bool(link.strip()) == (upload is not None):
        given = "A link and a file were given" if upload else "No model was given"
        raise gr.Error(f"{given}; accepted: its id or link on huggingface.co, or a .safetensors file.")
    try:
        if upload is None:
            checkpoint = open_checkpoint(link, local=False)
        else:
            file = Path(upload)
            checkpoint = read_layout(LocalListing(file.parent, (file.name,), label="upload"), file.name)
        found = inspect_checkpoint(checkpoint)
    except UserError as error:
        raise gr.Error(str(error)) from error
    return "\n".join(report_lines(found)), found["base"] or "", found["prompt"] or ""


def answer_text(result: PictureResult) -> str:
    """Verdict, scores and notes in Markdown; no text in it comes from outside."""
    verdict = result.verdict
    p = "" if verdict.p_value is None else f" (p = {verdict.p_value:.3f}, {verdict.controls} control pictures)"
    table = "".join(f"| {name} | {value:.4f} |\n" for name, value in result.scores.items())
    table += "".join(f"| {name} | {reason} |\n" for name, reason in embedders().missing.items())
    notes = "".join(f"- {note}\n" for note in result.picture.notes)
    return f"## {verdict.outcome}{p}\n\n{verdict.reason}\n\n| score | value |\n|---|---|\n{table}\n{notes}\n{CAVEAT}"


def pixels(image: torch.Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()


def build_page() -> gr.Blocks:
    with gr.Blocks(title="Was this picture used to train that model?", delete_cache=UPLOADS) as page:
        gr.Markdown(
            "# Was this picture used to train that model?\n"
            "Half of the picture is removed. What comes back, comes back only if the fine-tuned model has seen it. "
            "Choose a shipped suspect, give a picture, run."
        )
        with gr.Row():
            with gr.Column():
                picture = gr.Image(
                    label="Picture", sources=["upload", "clipboard"], type="filepath", image_mode=None, format="png"
                )
                suspect = gr.Dropdown(EXAMPLES, value=EXAMPLES[0] if EXAMPLES else None, label="Suspect")
                preset = gr.Radio([p for p in PRESETS if p != "reference"], value="fast", label="Preset")
                with gr.Row():
                    run = gr.Button("Run", variant="primary")
                    stop = gr.Button("Stop")
            with gr.Column(scale=2):
                with gr.Row():
                    shown = [
                        gr.Image(label=label, format="png", interactive=False)
                        for label in ("Original", "Partial", "Recovered")
                    ]
                answer = gr.Markdown()
        files = [str(p) for e in EXAMPLES for part in ("member", "holdout") for p in example_files(e, part)[:3]]
        if files:
            gr.Examples(
                [[f] for f in files], [picture], label="Examples: three members, three holdouts of each suspect"
            )
        event = run.click(
            authenticate, [picture, suspect, preset], [*shown, answer], concurrency_id="gpu", api_name="authenticate"
        )
        stop.click(None, cancels=[event])
        with gr.Accordion("What is this model file?", open=False):
            gr.Markdown(
                "Names and headers are read, nothing else: what it is, which public model it was made from, what its "
                "writer noted. Only `.safetensors` are opened; uploads are deleted after two hours."
            )
            with gr.Row():
                link = gr.Textbox(label="Model on the Hub", placeholder="owner/name, or a link to huggingface.co")
                upload = gr.File(label="or a file", file_types=[".safetensors"], type="filepath")
            check = gr.Button("Check")
            report = gr.Code(label="Report", language=None, lines=12, wrap_lines=True, interactive=False)
            with gr.Row():
                base = gr.Textbox(label="Public base (a guess, yours to correct)")
                prompt = gr.Textbox(label="Prompt of its training (a guess, yours to correct)")
        check.click(check_model, [link, upload], [report, base, prompt], api_name="check_model", concurrency_limit=4)
    return page


def example_files(example: str, part: str) -> list[Path]:
    return sorted((ASSETS / "examples" / example / part).iterdir())


if __name__ == "__main__":
    build_page().queue(max_size=20).launch(
        max_file_size="100mb", enable_monitoring=False, run_history=False, ssr_mode=False
    )
