"""What gradio took in for a visitor: each file in a folder of its own, which goes with it."""

import shutil
from pathlib import Path

from gradio.utils import get_upload_folder


def upload_folder(path: str) -> Path | None:
    """The folder that gradio made for an upload; None for what ships with the page."""
    file, cache = Path(path).resolve(), Path(get_upload_folder()).resolve()
    return file.parent if file.parent.parent == cache else None


def delete_upload(path: str) -> None:
    """Delete what somebody has sent, as soon as it is not needed; other files stay."""
    if (folder := upload_folder(path)) is not None:
        shutil.rmtree(folder, ignore_errors=True)
