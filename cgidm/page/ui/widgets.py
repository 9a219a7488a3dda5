"""Widgets that the page has more than once."""

from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from .wiring import Texts


def picture_upload(texts: Texts, elem_id: str) -> gr.Image:
    """A field for one picture, whose file reaches the handler unaltered."""
    picture = gr.Image(
        label=texts("picture.label"),
        alt_text=texts("picture.label"),  # type: ignore[arg-type]
        sources=["upload", "clipboard"],
        type="filepath",
        image_mode=None,
        format="png",
        height=260,
        elem_id=elem_id,
    )
    pass_file_through(picture)
    return picture


def pass_file_through(picture: gr.Image) -> None:
    """Hand an upload's file over unopened.

    Gradio would open it, and a file that is no picture would be refused without a sentence of ours.
    """
    open_file = picture.preprocess

    def path_of(payload: ImageData | None) -> Any:
        return payload.path if payload is not None and payload.path else open_file(payload)

    picture.preprocess = path_of  # type: ignore[method-assign]


def file_upload(label: Any, elem_id: str, *, several: bool, types: list[str], height: int = 150) -> gr.File:
    """A field for one file, or for several."""
    count = "multiple" if several else "single"
    return gr.File(label=label, file_count=count, file_types=types, type="filepath", height=height, elem_id=elem_id)


def result_image(texts: Texts, role: str, elem_id: str, *, visible: bool = True) -> gr.Image:
    """A field that shows one of a run's images."""
    return gr.Image(
        label=texts(role),
        alt_text=texts(role),  # type: ignore[arg-type]
        format="png",
        interactive=False,
        height=220,
        min_width=100,
        visible=visible,
        buttons=["download", "fullscreen"],
        elem_id=elem_id,
        elem_classes="result",
    )


def info(text: Any) -> gr.Markdown:
    """A small text beside a field."""
    return gr.Markdown(text, elem_classes="info")
