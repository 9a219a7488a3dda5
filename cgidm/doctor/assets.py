"""Whether what ships in assets/ is complete: models by names and headers, banks as JSON, no file left with Git LFS."""

import json
from pathlib import Path

from ..errors import UserError
from ..intake.header import read_header
from ..intake.layout import Checkpoint, read_layout
from ..intake.listing import LocalListing
from ..messages import Note, note
from .finding import command_fix, first_line

EMBEDDER, BANK, FONT = "efficientnet_lite0.safetensors", "bank.json", "m-plus-1-japanese.ttf"
POINTER = b"version https://git-lfs.github.com/spec/v1"  # the start of what Git LFS leaves instead of a file
FETCH = "git lfs install && git lfs pull"


def asset_problems(assets: Path) -> dict[str, tuple[Note, Note] | None]:
    """The problem of each folder of `assets`, with its fix; None if it is complete."""
    examples = sorted(p.name for p in (assets / "examples").glob("*/"))
    names = [*(f"banks/{name}" for name in examples), "controls", "embedder"]
    names += [*(f"examples/{name}" for name in examples), "fonts", "mini"]
    return {f"assets/{name}": _problem(LocalListing(assets / name, label=f"assets/{name}")) for name in names}


def _problem(listing: LocalListing) -> tuple[Note, Note] | None:
    try:
        if pointers := [f for f in listing.sizes if listing.read(f, 0, len(POINTER)) == POINTER]:
            problem = note("doctor.git_lfs_pointers", files=pointers[:3], count=len(pointers))
            return problem, command_fix(FETCH)
        problem = _find_problem(listing)
    except UserError as error:
        problem = error.note
    except OSError as error:
        problem = note("doctor.asset_unreadable", error=first_line(error))
    return None if problem is None else (problem, note("doctor.fix_asset", folder=listing.name))


def _find_problem(listing: LocalListing) -> Note | None:
    """What is missing in a folder, returned here or raised by its reader; None if nothing is."""
    match listing.name:
        case "assets/controls":
            return None if listing.sizes else note("doctor.asset_no_pictures", folder=listing.name)
        case "assets/embedder":
            read_header(listing, EMBEDDER)
            return None
        case "assets/fonts":
            return None if FONT in listing.sizes else note("doctor.asset_file_missing", file=f"{listing.name}/{FONT}")
        case "assets/mini":
            return _pipeline_problem(read_layout(listing))
        case name if name.startswith("assets/banks/"):
            return _bank_problem(listing)
        case _:
            read_layout(listing, "checkpoint")
            return None


def _bank_problem(listing: LocalListing) -> Note | None:
    """A bank that is missing or cut off. Its own reader needs packages that may be missing: being JSON must do."""
    file = f"{listing.name}/{BANK}"
    if BANK not in listing.sizes:
        return note("doctor.asset_file_missing", file=file)
    try:
        json.loads(listing.read(BANK, 0, listing.sizes[BANK]))
    except ValueError:
        return note("doctor.asset_damaged", file=file)
    return None


def _pipeline_problem(model: Checkpoint) -> Note | None:
    """Networks without their index, or a component without its configuration; the weights were checked before."""
    if model.kind != "pipeline":
        return note("doctor.asset_file_missing", file=f"{model.name}/model_index.json")
    bare = [c for c, part in model.components.items() if not any(f.startswith(f"{c}/") for f in part.extras)]
    return note("doctor.asset_no_configuration", folder=model.name, components=bare) if bare else None
