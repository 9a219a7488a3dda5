"""What ships in assets/: is every model whole, as far as names and headers tell, every bank legible, no file left
with Git LFS?"""

import json
from collections.abc import Sequence
from pathlib import Path

from ..intake.header import read_header
from ..intake.layout import Checkpoint, read_layout
from ..intake.listing import LocalListing

EMBEDDER, BANK = "efficientnet_lite0.safetensors", "bank.json"
POINTER = b"version https://git-lfs.github.com/spec/v1"  # how what Git LFS leaves instead of a file begins
FETCH = "git lfs install && git lfs pull"


def find_faults(root: Path) -> dict[str, tuple[str, str]]:
    """Each folder of `root`/assets with what is wrong with it and what mends it; both blank where nothing is."""
    examples = sorted(p.name for p in (root / "assets" / "examples").glob("*/"))
    names = [*(f"banks/{name}" for name in examples), "controls", "embedder"]
    names += [*(f"examples/{name}" for name in examples), "mini"]
    return {f"assets/{name}": _fault(LocalListing(root / "assets" / name, label=f"assets/{name}")) for name in names}


def _fault(listing: LocalListing) -> tuple[str, str]:
    try:
        if pointers := [f for f in listing.sizes if listing.read(f, 0, len(POINTER)) == POINTER]:
            return f"Git LFS left a pointer instead of {_few(pointers)}", FETCH
        said = _lack(listing)
    except (ValueError, OSError) as error:  # a UserError is in the words of `intake`
        said = str(error)
    return said, f"git checkout -- {listing.name}; or clone the repository anew" if said else ""


def _lack(listing: LocalListing) -> str:
    """What is missing, said here or raised by what reads it; blank if nothing is."""
    match listing.name:
        case "assets/controls":
            return "" if listing.sizes else f"{listing.name} holds no pictures"
        case "assets/embedder":
            read_header(listing, EMBEDDER)
            return ""
        case "assets/mini":
            return _lack_of_pipeline(read_layout(listing))
        case name if name.startswith("assets/banks/"):
            return _lack_of_bank(listing)
        case _:
            read_layout(listing, "checkpoint")
            return ""


def _lack_of_bank(listing: LocalListing) -> str:
    """Its own reader wants more than what a doctor may take for granted; whether it is JSON tells one that was cut."""
    if BANK not in listing.sizes:
        return f"{listing.name}/{BANK} does not exist"
    try:
        json.loads(listing.read(BANK, 0, listing.sizes[BANK]))
    except ValueError:
        return f"{listing.name}/{BANK} is damaged"
    return ""


def _lack_of_pipeline(model: Checkpoint) -> str:
    """A folder of networks without their index, or a component without its configuration; weights were seen by then."""
    if model.kind != "pipeline":
        return f"{model.name}/model_index.json does not exist"
    bare = [c for c, part in model.components.items() if not any(f.startswith(f"{c}/") for f in part.extras)]
    return f"{model.name} lacks the configuration of its {', '.join(bare)}" if bare else ""


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
