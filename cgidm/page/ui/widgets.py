"""Widgets that the page has more than once."""

from typing import Any

import gradio as gr
from gradio.data_classes import ImageData


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


def add_button(label: Any, elem_id: str, *, types: list[str] | None = None) -> gr.UploadButton:
    """A button that adds files to a field, whose own button for this is small and has no name; of a folder, all."""
    count: Any = "directory" if types is None else "multiple"
    return gr.UploadButton(label, file_count=count, file_types=types, type="filepath", elem_id=elem_id, min_width=120)


def error_place(field: str) -> gr.HTML:
    """The place beside a field where its refusals stand."""
    return gr.HTML(elem_id=f"error-{field}", padding=False)


def info(text: Any) -> gr.Markdown:
    """A small text beside a field."""
    return gr.Markdown(text, elem_classes="info")
