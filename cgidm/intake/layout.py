"""What is this? A file or a folder that somebody calls a model -> a `Checkpoint`, or one sentence why not.

Only names, sizes and safetensors headers are read. A pickle is refused by its name, before any library can open it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NoReturn

from ..errors import UserError
from ..resources import SHIPPED, find_shipped_model
from .adapters import Adapter, is_adapter, parse_adapter
from .components import Component, find_components, find_network
from .embeddings import Embedding, is_embedding, parse_embedding
from .header import Header, TensorInfo, read_header
from .hub import MAX_DOWNLOAD, open_repository
from .listing import Listing, LocalListing
from .source import PICKLES, HubSource, parse_source

Kind = Literal["pipeline", "training checkpoint", "single file", "adapter", "textual inversion"]
LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
NETWORKS = ("unet", "transformer", "text_encoder", "text_encoder_2")  # what a training run saves
PEFT = ("adapter_model.safetensors", "adapter_config.json")
MAX_CONFIG = 1_000_000  # bytes of a JSON configuration that are read
ACCEPTED = (
    "accepted: a folder in the diffusers layout (with model_index.json), a training checkpoint (with unet/), a LoRA or "
    "PEFT folder, or one .safetensors file"
)


@dataclass(frozen=True)
class Checkpoint:
    """A source understood as far as its names and headers go."""

    kind: Kind
    listing: Listing
    root: str  # the file or folder that it is, in the listing; "" is the whole listing
    headers: Mapping[str, Header]  # every safetensors file that belongs to it, as the listing calls it
    extras: tuple[str, ...] = ()  # configurations and tokenizers that loading needs beside them
    components: Mapping[str, Component] = field(default_factory=dict)  # of a pipeline or training checkpoint
    variant: str | None = None  # diffusers' word for another precision: fp16
    adapter: Adapter | None = None
    embedding: Embedding | None = None
    config: Mapping[str, Any] | None = None  # model_index.json or adapter_config.json

    @property
    def name(self) -> str:
        return f"{self.listing.name}/{self.root}" if self.root else self.listing.name

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(self.headers)

    @property
    def whole(self) -> bool:
        """Does a suspect like this have a network of its own, not the base's with something beside it?"""
        return self.kind not in ("adapter", "textual inversion")

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """Every tensor; in a folder behind the name of its component, as two components may use one name."""
        if not self.components:
            return {key: info for header in self.headers.values() for key, info in header.tensors.items()}
        return {f"{name}/{key}": info for name in self.components for key, info in self.of_component(name).items()}

    @property
    def metadata(self) -> dict[str, str]:
        return {k: v for header in self.headers.values() for k, v in header.metadata.items()}

    def of_component(self, name: str) -> dict[str, TensorInfo]:
        """The tensors of one component of a folder."""
        return {k: info for f in self.components[name].weights for k, info in self.headers[f].tensors.items()}

    def fetch(self) -> Path:
        """The local file or folder of `root`, downloaded if need be: nothing but what loading needs."""
        return self.listing.fetch([*self.headers, *self.extras]) / self.root


def open_checkpoint(
    given: str,
    role: str = "",
    *,
    local: bool = True,
    token: str | None = None,
    max_download: int = MAX_DOWNLOAD,
    progress: bool = False,
) -> Checkpoint:
    """What `given` is: a path (if `local`), a place on the Hub, which `token` may open, or a model that ships.

    Raises:
        UserError: if it is missing, out of reach, a pickle, several models at once, or nothing that is known. `role`
            goes before the sentence.
    """
    try:
        if given.startswith(SHIPPED):
            return read_layout(LocalListing(find_shipped_model(given), label=given))
        source = parse_source(given, local=local)
        if isinstance(source, HubSource):
            return read_layout(open_repository(source, token, max_download, progress), source.path)
        return _read_path(source)
    except UserError as error:
        raise type(error)(f"{role} {error}".strip()) from error


def _read_path(source: Path) -> Checkpoint:
    if source.is_file():
        return read_layout(LocalListing(source.parent, (source.name, "adapter_config.json")), source.name)
    if not source.is_dir():
        raise UserError(f"{source} does not exist; {ACCEPTED}")
    if source.name == "unet" and (source / "config.json").is_file():  # the network's own folder
        source = source.parent
    return read_layout(LocalListing(source))


def read_layout(listing: Listing, root: str = "") -> Checkpoint:
    """Find out what the file or folder `root` of `listing` is.

    Raises:
        UserError: if it is missing, a pickle, several models at once, or nothing that is known.
    """
    if PurePosixPath(root).suffix.lower() in PICKLES:
        raise UserError(f"{listing.name}/{root} is a pickle, which can run code when it is opened; {ACCEPTED}")
    if root in listing.sizes:
        return _file(listing, root)
    inside = _inside(listing, root)
    if root and not inside:
        raise UserError(f"{listing.name} has no file or folder {root}; {ACCEPTED}")
    if "model_index.json" in inside:
        config = read_json(listing, _join(root, "model_index.json"))
        return _folder("pipeline", listing, root, *find_components(listing, root, config), config)
    if "config.json" in inside and PurePosixPath(root).name == "unet":  # the network's own folder
        return read_layout(listing, PurePosixPath(root).parent.as_posix().strip("."))
    found = [name for name in LORA_FILES if name in inside]
    if not found and any(name.startswith("unet/") for name in inside):
        networks = [n for n in NETWORKS if any(name.startswith(f"{n}/") for name in inside)]
        return _folder("training checkpoint", listing, root, *find_network(listing, root, networks))
    if not found:
        found = sorted(name for name in inside if name.endswith(".safetensors") and "/" not in name)
    if len(found) == 1:
        return _file(listing, _join(root, found[0]))
    _explain(_join(listing.name, root), inside, found)


def read_json(listing: Listing, file: str) -> dict[str, Any]:
    """A configuration file as a table.

    Raises:
        UserError: if it is large, or no JSON object.
    """
    name, size = f"{listing.name}/{file}", listing.sizes[file]
    if size > MAX_CONFIG:
        raise UserError(f"{name} has {size:,} bytes; accepted: at most {MAX_CONFIG:,}")
    try:
        value = json.loads(listing.read(file, 0, size))
    except (ValueError, RecursionError) as error:
        said = f"{(str(error).splitlines() or ['nested too deeply'])[0]:.120}"
        raise UserError(f"{name} cannot be read ({said}); accepted: a JSON object") from error
    if not isinstance(value, dict):
        raise UserError(f"{name} is JSON but no table; accepted: a JSON object")
    return value


def _file(listing: Listing, file: str) -> Checkpoint:
    name = f"{listing.name}/{file}"
    if not file.lower().endswith(".safetensors"):
        raise UserError(f"{name} is not a .safetensors file; {ACCEPTED}")
    header = read_header(listing, file)
    tensors, headers = header.tensors, {file: header}
    if is_adapter(tensors):
        weights, config = PEFT
        beside = file.removesuffix(weights) + config
        extras = (beside,) if file.endswith(weights) and beside in listing.sizes else ()
        table = read_json(listing, beside) if extras else None
        adapter = parse_adapter(tensors, name)
        return Checkpoint("adapter", listing, file, headers, extras, adapter=adapter, config=table)
    if any(k.startswith("model.diffusion_model.") for k in tensors):
        return Checkpoint("single file", listing, file, headers)
    if is_embedding(tensors):
        return Checkpoint("textual inversion", listing, file, headers, embedding=parse_embedding(tensors, name))
    shown = ", ".join(f"{k:.80}" for k in list(tensors)[:3]) or "no tensor at all"
    raise UserError(f"{name} is a sound file of no known kind (it holds {shown}); {ACCEPTED}")


def _folder(
    kind: Kind,
    listing: Listing,
    root: str,
    components: Mapping[str, Component],
    variant: str | None,
    config: Mapping[str, Any] | None = None,
) -> Checkpoint:
    headers = {file: read_header(listing, file) for c in components.values() for file in c.weights}
    extras = [file for c in components.values() for file in c.extras]
    if config is not None:
        extras.append(_join(root, "model_index.json"))
    return Checkpoint(kind, listing, root, headers, tuple(extras), components, variant, config=config)


def _inside(listing: Listing, root: str) -> list[str]:
    """The files of a folder, as paths inside it."""
    start = f"{root}/" if root else ""
    return sorted(file.removeprefix(start) for file in listing.sizes if file.startswith(start))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _explain(name: str, inside: Sequence[str], found: Sequence[str]) -> NoReturn:
    """Why a folder cannot be used: several models, only pickles, several training steps, or nothing."""
    top = sorted({file.split("/")[0] for file in inside})
    steps = sorted({file.split("/")[0] for file in inside if file.startswith("checkpoint-") and "/" in file})
    pickles = [file for file in inside if PurePosixPath(file).suffix.lower() in PICKLES]
    if found:
        what, names = "holds several models; name one", found
    elif steps:
        what, names = "holds several steps of one training; name one", steps
    elif pickles:
        what, names = "holds its weights only as pickles, which can run code when they are opened", pickles
    else:
        what, names = "holds no model that is known", top
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    raise UserError(f"{name} {what} ({listed or 'it is empty'}); {ACCEPTED}")
