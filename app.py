"""The Space: a page where anybody asks whether a picture was used to train a model. Run it with `python app.py`."""

import cgidm.page.runs.hardware  # noqa: F401  # isort: skip  # first: it imports `spaces`, which must come before torch

import importlib.util

from cgidm.page.ui.layout import build_page, keep_tidy
from cgidm.page.ui.theme import CSS, theme

MAX_UPLOAD = "400mb"  # a LoRA of SDXL; a picture has a limit of its own
MAX_WAITING = 40  # visitors; ZeroGPU would let one wait

if __name__ == "__main__":
    blocks, texts = build_page()
    keep_tidy()
    blocks.queue(max_size=MAX_WAITING).launch(
        theme=theme(),
        css=CSS,
        i18n=texts,
        max_file_size=MAX_UPLOAD,
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        mcp_server=importlib.util.find_spec("mcp") is not None,
        footer_links=["api"],
    )
