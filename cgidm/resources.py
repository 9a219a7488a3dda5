"""The models and pictures that ship, found in a checkout and in an installed package alike.

Standard library alone: `doctor` says what is missing where nothing else is installed.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError

SHIPPED = "shipped:"  # before the name of a model that ships: "shipped:mini"
BASE_NAME = "mini"
SHIPPED_BASE = SHIPPED + BASE_NAME
FLOW_BASE, FLOW_SUSPECT = "mini-flow", "mini-flow-lora"  # the small model of rectified flow, and a LoRA of it


@dataclass(frozen=True, kw_only=True)
class ShippedExample:
    """A suspect that ships, with pictures whose role is known.

    Attributes:
        name: the name of its folder.
        mode: how it was trained, "lora" or "dreambooth".
        prompt: the prompt it was trained with.
        checkpoint: its weights.
        members: pictures it was trained on.
        holdouts: pictures by the same artist it was not trained on.
        controls: folder of further pictures it was not trained on.
        bank: folder of null models' scores, to be used instead of controls.
    """

    name: str
    mode: str
    prompt: str
    checkpoint: Path
    members: tuple[Path, ...]
    holdouts: tuple[Path, ...]
    controls: Path
    bank: Path

    @property
    def control_pictures(self) -> tuple[Path, ...]:
        """The pictures of `controls`, sorted."""
        return _files(self.controls)


def resource_root() -> Path:
    """The folder of everything that ships.

    It is `CGIDM_ASSETS` if that is set, else `cgidm/assets` of an installed package, else `assets` of a checkout.
    """
    if given := os.environ.get("CGIDM_ASSETS"):
        return Path(given)
    installed = Path(__file__).resolve().parent / "assets"
    return installed if installed.is_dir() else installed.parents[1] / "assets"


def base_folder() -> Path:
    """The small diffusion model that ships, a pipeline of diffusers."""
    return resource_root() / BASE_NAME


def reference_files() -> tuple[Path, ...]:
    """Pictures by many hands for the mirror test, sorted."""
    return tuple(p for p in _files(resource_root() / "reference") if p.suffix == ".jpg")


def embedder_file() -> Path:
    """The weights of EfficientNet-Lite0."""
    return resource_root() / "embedder" / "efficientnet_lite0.safetensors"


def japanese_font() -> Path:
    """Kana, signs and common kanji, for reports on paper; see `scripts/subset_font.py`."""
    return resource_root() / "fonts" / "m-plus-1-japanese.ttf"


def example_answers() -> Path:
    """The folders of evidence that the page shows at once: `<example>/member` and `<example>/holdout`."""
    return resource_root() / "answers"


def example_names() -> tuple[str, ...]:
    """The names of the examples that ship, sorted."""
    return tuple(sorted(file.parent.name for file in resource_root().glob("examples/*/example.json")))


def find_example(name: str) -> ShippedExample:
    """The shipped example of that name.

    Raises:
        UserError: if none has it.
    """
    if name not in (names := example_names()):
        raise UserError("resources.unknown_example", given=name, accepted=list(names))
    root = resource_root()
    folder = root / "examples" / name
    about = json.loads((folder / "example.json").read_text(encoding="utf-8"))
    return ShippedExample(
        name=name,
        mode=about["mode"],
        prompt=about["prompt"],
        checkpoint=folder / "checkpoint",
        members=_files(folder / "member"),
        holdouts=_files(folder / "holdout"),
        controls=root / "controls" / name,
        bank=root / "banks" / name,
    )


def find_shipped_model(given: str) -> Path:
    """The folder of the model that `given` names: "shipped:mini", or "shipped:" and the name of an example.

    A file in it may follow, as a record names it: "shipped:rollandin-lora/pytorch_lora_weights.safetensors".

    Raises:
        UserError: if no such model ships.
    """
    name, _, file = given.removeprefix(SHIPPED).partition("/")
    if file and not _has_file(name, file):
        name = ""
    if name == BASE_NAME:
        return base_folder()
    if name == FLOW_BASE:
        return resource_root() / FLOW_BASE
    if name == FLOW_SUSPECT:
        return resource_root() / FLOW_BASE / "example" / "checkpoint"
    if name not in (names := example_names()):
        accepted = [SHIPPED_BASE, *(SHIPPED + n for n in (FLOW_BASE, FLOW_SUSPECT, *names))]
        raise UserError("resources.unknown_model", given=given, accepted=accepted)
    return find_example(name).checkpoint


def _has_file(name: str, file: str) -> bool:
    """Whether a suspect that ships has this file at its top."""
    return name in example_names() and file in {p.name for p in find_example(name).checkpoint.iterdir()}


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(p for p in folder.glob("*") if p.is_file()))
