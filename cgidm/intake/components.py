"""The files of a folder in the diffusers layout: each component's weights in one precision, and its configuration.

A published repository holds the same weights many times: two precisions, pickles, other frameworks, one large file.
Only the files that will be loaded are counted, hashed and downloaded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

from ..errors import UserError
from .listing import Listing
from .source import PICKLES

# one file or one of several parts; `variant` is diffusers' word for another precision
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d{5}-of-(?P<parts>\d{5}))?\.safetensors"
)
EXTRAS = re.compile(r"[\w.-]+\.(?:json|txt|model)")  # configurations, vocabularies, sentencepiece
UNUSED = {"safety_checker", "feature_extractor", "image_encoder"}  # they take no part in denoising
NO_NETWORK = re.compile(r"Tokenizer|Scheduler|Extractor|Processor")  # classes without weights


@dataclass(frozen=True)
class Component:
    """One component's files, as the listing calls them."""

    weights: tuple[str, ...]
    extras: tuple[str, ...]


def find_components(listing: Listing, root: str, index: Mapping[str, Any]) -> tuple[dict[str, Component], str | None]:
    """Find the files of the components that a model_index.json names.

    Args:
        listing: the files.
        root: the folder of model_index.json, inside the listing.
        index: the content of model_index.json.

    Returns:
        The components by name, and the variant of their weights: "fp16", or None for the plain files.

    Raises:
        UserError: if a component has no weights, has them only as pickles, or no precision is complete.
    """
    classes = {
        name: entry[1]
        for name, entry in index.items()
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str) and name not in UNUSED
    }
    return _find(listing, root, {name: not NO_NETWORK.search(cls) for name, cls in classes.items()})


def find_network(listing: Listing, root: str, names: Sequence[str]) -> tuple[dict[str, Component], str | None]:
    """Find the files of the networks `names` that a training run saved, as `find_components` does."""
    return _find(listing, root, dict.fromkeys(names, True))


def _find(listing: Listing, root: str, wanted: Mapping[str, bool]) -> tuple[dict[str, Component], str | None]:
    folders = {name: _folder(listing, root, name) for name in wanted}
    held = {name: _weights(listing, folders[name]) for name, network in wanted.items() if network}
    for name, variants in held.items():
        if not variants:
            _refuse(listing, folders[name], name)
    variant = _choose(held, f"{listing.name}/{root}".rstrip("/"))
    components = {}
    for name, folder in folders.items():
        variants = held.get(name, {})
        weights = variants.get(variant) or variants.get(None) or ()
        extras = [f for f in _files(listing, folder) if EXTRAS.fullmatch(PurePosixPath(f).name)]
        components[name] = Component(tuple(weights), tuple(extras))
    return components, variant


def _folder(listing: Listing, root: str, name: str) -> str:
    """The folder of a component. Early pixel-space pipelines keep their one network beside model_index.json."""
    folder = f"{root}/{name}" if root else name
    return folder if _files(listing, folder) else root


def _files(listing: Listing, folder: str) -> list[str]:
    return [f for f in listing.sizes if PurePosixPath(f).parent.as_posix() == (folder or ".")]


def _weights(listing: Listing, folder: str) -> dict[str | None, list[str]]:
    """Variant -> its files, if all parts are present."""
    found: dict[str | None, list[str]] = {}
    parts: dict[str | None, int] = {}
    for file in sorted(_files(listing, folder)):
        if match := WEIGHTS.fullmatch(PurePosixPath(file).name):
            found.setdefault(match["variant"], []).append(file)
            parts[match["variant"]] = int(match["parts"] or 1)
    return {variant: files for variant, files in found.items() if len(files) == parts[variant]}


def _choose(held: Mapping[str, Mapping[str | None, Sequence[str]]], name: str) -> str | None:
    """None for the plain weights if every component has them, else the one variant that fills every gap."""
    gaps = [set(variants) for variants in held.values() if None not in variants]
    if not gaps:
        return None
    common = set.intersection(*gaps)
    if not common:
        raise UserError("intake.no_complete_precision", name=name)
    return "fp16" if "fp16" in common else min(v for v in common if v is not None)


def _refuse(listing: Listing, folder: str, name: str) -> NoReturn:
    pickles = [PurePosixPath(f).name for f in _files(listing, folder) if PurePosixPath(f).suffix.lower() in PICKLES]
    where = f"{listing.name}/{folder}".rstrip("/")
    if not pickles:
        raise UserError("intake.component_missing", name=where, component=name)
    code = "intake.component_pickled" if listing.about is None else "intake.component_pickled_on_hub"
    raise UserError(code, name=where, component=name, files=sorted(pickles)[:3])
