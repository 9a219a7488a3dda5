"""`cgidm page`: serve the page. `app.py` of a Space calls it too."""

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec

from ..errors import UserError
from ..messages.text import print_line

MAX_UPLOAD = "400mb"  # a LoRA of SDXL; a picture has a limit of its own
MAX_WAITING = 40  # visitors; ZeroGPU would let one wait


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `cgidm page` without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="cgidm page", description="Serve the page until Ctrl-C.")
    add_options(parser)
    try:
        return serve_page(parser.parse_args(arguments))
    except UserError as error:
        print_line(f"error: {error}", to_stderr=True)
        return 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cgidm page`."""
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1; 0.0.0.0 for every network)")
    parser.add_argument("--files", metavar="FOLDER", help="let programs name files in this folder by their paths")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")


def serve_page(options: argparse.Namespace) -> int:
    """Run `launch` with the options of the command line."""
    launch(options.host, options.port, options.files)
    return 0


def launch(host: str | None = None, port: int | None = None, files: str | None = None) -> None:
    """Serve the page and wait. Without `host` and `port`, gradio's environment variables and defaults count.

    Programs may name files in the folder `files` by their paths.

    Raises:
        UserError: if gradio is not installed, or the operator's key cannot sign.
    """
    if find_spec("gradio") is None:
        raise UserError("page.not_installed")
    from .runs import hardware  # noqa: F401  # isort: skip  # first: it imports `spaces`, which must come before torch
    from .runs.settings import FILES_FOLDER
    from .runs.signing import operator_key
    from .ui.layout import build_page, keep_tidy
    from .ui.theme import CSS, theme

    operator_key()  # one that cannot sign is told now, not after somebody's run
    if files:
        os.environ[FILES_FOLDER] = files
    has_tools = find_spec("mcp") is not None
    if has_tools:
        use_own_tool_server()
    blocks, texts = build_page()
    keep_tidy()
    blocks.queue(max_size=MAX_WAITING).launch(
        server_name=host,
        server_port=port,
        theme=theme(),
        css=CSS,
        i18n=texts,
        max_file_size=MAX_UPLOAD,
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        mcp_server=has_tools,
        footer_links=["api"],
    )


def use_own_tool_server() -> None:
    """Make gradio serve tools whose answers are JSON with a schema; it makes its server when the page is launched."""
    import gradio.mcp

    from .ui.api import schemas
    from .ui.tool_server import ToolServer

    ToolServer.schemas = schemas()
    gradio.mcp.GradioMCPServer = ToolServer  # type: ignore[misc]
