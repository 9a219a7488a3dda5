"""The files of a folder in the diffusers layout: each component's weights in one precision, and its configuration.

A published repository holds the same weights many times: two precisions, pickles, other frameworks, one large file.
Only the files that will be loaded are counted, hashed and downloaded.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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
INDEX = re.compile(r"(?:diffusion_pytorch_model|model)(?:\.(\w+))?\.safetensors\.index(?:\.(\w+))?\.json")
EXTRAS = re.compile(r"[\w.-]+\.(?:json|txt|model|jinja)")  # configurations, vocabularies, chat templates
UNUSED = {"safety_checker", "feature_extractor", "image_encoder"}  # they take no part in denoising
SETTINGS = {"text_encoder_select_layers"}  # lists in model_index.json that name no component
NO_NETWORK = re.compile(r"Tokenizer|Scheduler|Extractor|Processor")  # classes without weights
LIBRARIES = ("diffusers", "transformers")  # any other name in model_index.json is that of code in the folder
VOCABULARIES = (  # the files that hold a tokenizer's words; one of these sets is needed
    *({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"vocab.txt"}),
    *({"spiece.model"}, {"sentencepiece.bpe.model"}, {"tokenizer.model"}),
)
# what tells a part of a model whose weights are saved alone, under the bare names of diffusers and transformers
BARE_PARTS = {
    "controlnet": (r"controlnet_(cond_embedding|down_blocks)\.",),
    "unet": (r"conv_in\.weight", r"(down|mid)_blocks?\.", r"time_embedding\."),
    "transformer": (r"(transformer_blocks|joint_transformer_blocks)\.", r"proj_out\."),
    "vae": (r"encoder\.conv_in\.", r"decoder\.conv_in\."),
    "text_encoder": (r"(text_model\.)?embeddings\.token_embedding\.",),
}
TRAINED_ALONE = ("unet", "transformer")  # what loads with the base's configuration


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
    classes = read_classes(index, f"{listing.name}/{root}".rstrip("/"))
    found = _find(listing, root, {name: not NO_NETWORK.search(cls) for name, cls in classes.items()})
    for name in (n for n, cls in classes.items() if "Tokenizer" in cls):
        _check_vocabulary(listing, _folder(listing, root, name), name)
    return found


def read_classes(index: Mapping[str, Any], name: str) -> dict[str, str]:
    """Read the class of each component that a model_index.json names; a component that is null has none.

    Raises:
        UserError: if the pipeline or a component is of code of its own, or an entry names no class.
    """
    pipeline = index.get("_class_name")
    if isinstance(pipeline, list):  # diffusers' form for a class in a Python file of the folder
        raise UserError("intake.own_pipeline", name=name, given=f"{pipeline!s:.80}")
    classes = {}
    for part, entry in index.items():
        if part.startswith("_") or part in UNUSED or part in SETTINGS or not isinstance(entry, list):
            continue
        if entry == [None, None]:
            continue
        if len(entry) != 2 or not all(isinstance(word, str) for word in entry):
            raise UserError("intake.component_entry", name=name, component=part[:80], given=f"{entry!s:.80}")
        # AltDiffusion was published under a library that has left diffusers; its loader looks at the class alone
        if entry[0] not in LIBRARIES and pipeline != "AltDiffusionPipeline":
            raise UserError("intake.own_component", name=name, component=part[:80], given=".".join(entry)[:80])
        classes[part] = entry[1]
    return classes


def find_bare_part(tensors: Iterable[str]) -> str | None:
    """Find out which part of a model the tensors of one file are: "unet", "vae", or None for something else."""
    names = list(tensors)
    for part, marks in BARE_PARTS.items():
        if all(any(re.match(mark, name) for name in names) for mark in marks):
            return part
    return None


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
    """Variant -> its files, if all parts are present.

    Raises:
        UserError: if a variant was saved twice, whole and in parts: libraries then take the parts, whichever is newer.
    """
    saves: dict[str | None, dict[tuple[str, int], list[str]]] = {}
    indexed: dict[str | None, list[str]] = {}
    for file in sorted(_files(listing, folder)):
        name = PurePosixPath(file).name
        if match := WEIGHTS.fullmatch(name):
            save = (re.split(r"[.-]", name)[0], int(match["parts"] or 1))
            saves.setdefault(match["variant"], {}).setdefault(save, []).append(file)
        elif match := INDEX.fullmatch(name):
            indexed.setdefault(match[1] or match[2], []).append(name)
    for variant, found in saves.items():
        if len(found) > 1 or (variant in indexed and any(parts == 1 for _, parts in found)):
            names = [PurePosixPath(save[0]).name for save in found.values()]  # one file of each save
            where = f"{listing.name}/{folder}".rstrip("/")
            raise UserError("intake.saved_twice", name=where, files=[*names, *indexed.get(variant, [])])
    whole = {v: (files, parts) for v, found in saves.items() for (_, parts), files in found.items()}
    return {variant: files for variant, (files, parts) in whole.items() if len(files) == parts}


def _check_vocabulary(listing: Listing, folder: str, name: str) -> None:
    """See that a tokenizer has words: without their file libraries make one that knows none, and say nothing."""
    files = {PurePosixPath(f).name for f in _files(listing, folder)}
    if not any(needed <= files for needed in VOCABULARIES):
        where = f"{listing.name}/{folder}".rstrip("/")
        raise UserError("intake.vocabulary_missing", name=where, component=name)


def _choose(held: Mapping[str, Mapping[str | None, Sequence[str]]], name: str) -> str | None:
    """None for the plain weights if every component has them, else the one variant that fills every gap."""
    gaps = [set(variants) for variants in held.values() if None not in variants]
    if not gaps:
        return None
    common = set.intersection(*gaps)
    if not common:
        raise UserError("intake.no_complete_precision", name=name)
    return "fp16" if "fp16" in common else min(v for v in common if v is not None)


def refuse_gguf(name: str, files: Sequence[str]) -> None:
    """Refuse a folder without safetensors whose weights are GGUF files.

    Raises:
        UserError: if it holds such files.
    """
    if found := sorted(file for file in files if file.lower().endswith(".gguf")):
        raise UserError("intake.only_gguf", name=name, files=[*found[:3], *(["…"] if len(found) > 3 else [])])


def _refuse(listing: Listing, folder: str, name: str) -> NoReturn:
    pickles = [PurePosixPath(f).name for f in _files(listing, folder) if PurePosixPath(f).suffix.lower() in PICKLES]
    where = f"{listing.name}/{folder}".rstrip("/")
    refuse_gguf(where, [PurePosixPath(f).name for f in _files(listing, folder)])
    if not pickles:
        raise UserError("intake.component_missing", name=where, component=name)
    code = "intake.component_pickled" if listing.about is None else "intake.component_pickled_on_hub"
    raise UserError(code, name=where, component=name, files=sorted(pickles)[:3])
