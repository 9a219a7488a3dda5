"""What a file or folder is: a `Checkpoint`, or a `UserError` that says why it is none.

Only names, sizes and safetensors headers are read. A pickle is refused by its name, before any library can open it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NoReturn

from ..errors import UserError
from ..resources import SHIPPED, find_shipped_model
from .adapters import Adapter, is_adapter, join_adapters, parse_adapter
from .adapters import Component as Network
from .civitai.listing import open_version
from .civitai.location import CivitaiSource
from .components import TRAINED_ALONE, Component, find_bare_part, find_components, find_network, refuse_gguf
from .embeddings import Embedding, is_embedding, parse_embedding
from .header import Header, TensorInfo, load_table, read_header, refuse_other_kind
from .hub import MAX_DOWNLOAD, open_repository
from .listing import Listing, LocalListing
from .source import PICKLES, HubSource, parse_source, split_scale

Kind = Literal["pipeline", "training checkpoint", "single file", "adapter", "textual inversion"]
LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
NETWORKS: tuple[Network, ...] = ("unet", "transformer", "text_encoder", "text_encoder_2")  # what a training run saves
PEFT = ("adapter_model.safetensors", "adapter_config.json")
MOST_TRIED = 20  # files of a folder whose headers are read to find an adapter
MAX_CONFIG = 1_000_000  # bytes of a JSON configuration that are read


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model as its file names and headers describe it."""

    kind: Kind
    listing: Listing
    root: str  # its file or folder in the listing; "": the whole listing
    headers: Mapping[str, Header]  # of every safetensors file that belongs to it
    extras: tuple[str, ...] = ()  # configurations and tokenizers, which loading needs too
    components: Mapping[str, Component] = field(default_factory=dict)  # of a pipeline or training checkpoint
    variant: str | None = None  # diffusers' word for another precision: fp16
    adapter: Adapter | None = None
    embedding: Embedding | None = None
    config: Mapping[str, Any] | None = None  # model_index.json or adapter_config.json
    lender: "Checkpoint | None" = None  # whose configuration and tokenizers a base in one file uses
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of peft's folders: network -> its own
    scale: float = 1.0  # what the change of an adapter is multiplied by
    as_loaded: bool = False  # what other programs would use of it is used, and the rest is named

    @property
    def name(self) -> str:
        """The listing's name, and the file or folder in it."""
        return f"{self.listing.name}/{self.root}" if self.root else self.listing.name

    @property
    def weights(self) -> tuple[str, ...]:
        """Its safetensors files, as the listing names them."""
        return tuple(self.headers)

    @property
    def is_full_network(self) -> bool:
        """Whether it holds a full network, not one that is added to a base."""
        return self.kind not in ("adapter", "textual inversion")

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """Every tensor by name. In a folder the component goes before the name, as two components may use one name."""
        if self.kind == "adapter" and self.root not in self.headers:
            return {
                f"{PurePosixPath(f).parent.name}/{k}": t for f, h in self.headers.items() for k, t in h.tensors.items()
            }
        if not self.components:
            return {key: info for header in self.headers.values() for key, info in header.tensors.items()}
        return {f"{name}/{key}": info for name in self.components for key, info in self.of_component(name).items()}

    @property
    def metadata(self) -> dict[str, str]:
        """The notes of all its files; anyone can edit them."""
        return {k: v for header in self.headers.values() for k, v in header.metadata.items()}

    def of_component(self, name: str) -> dict[str, TensorInfo]:
        """The tensors of one component of a folder."""
        return {k: info for f in self.components[name].weights for k, info in self.headers[f].tensors.items()}

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of each of its weight files, in their order, with spaces between."""
        return " ".join(self.listing.sha256(f) for f in self.weights)

    def fetch(self) -> Path:
        """Download the files that loading needs, unless they are here, and return the local file or folder."""
        return self.listing.fetch([*self.headers, *self.extras]) / self.root


def open_checkpoint(
    given: str | Path,
    role: str = "",
    *,
    local: bool = True,
    token: str | None = None,
    civitai_key: str | None = None,
    max_download: int = MAX_DOWNLOAD,
    progress: bool = False,
    as_loaded: bool = False,
) -> Checkpoint:
    """Find out what `given` is, from names and headers alone.

    Args:
        given: a path, the id of a repository on the Hub, a link to the Hub or to Civitai, an AIR of Civitai, or
            "shipped:" and the name of a shipped model. Behind an adapter, "@0.8" is the scale it is used at.
        role: what it is used as, which goes before the error's message: "base model".
        local: accept paths on this machine.
        token: the visitor's own, for gated repositories of the Hub.
        civitai_key: the visitor's own API key, for models of Civitai that it hands out to accounts alone.
        max_download: bytes that `Checkpoint.fetch` may download.
        progress: draw a bar while downloading.
        as_loaded: of a folder with several adapters use the one that diffusers would load, and of an adapter the
            modules that ComfyUI and diffusers would. What is left out is named with the answer.

    Raises:
        UserError: if it is missing, out of reach, a pickle, several models at once, or of no known kind.
    """
    given = str(given)
    try:
        location, scale = split_scale(given, local=local)
        found = _open(location, local, token, civitai_key, max_download, progress, as_loaded)
        if scale != 1 and found.kind != "adapter":
            raise UserError("intake.scale_of_no_adapter", name=found.name, kind=found.kind, scale=scale)
        return replace(found, scale=scale, as_loaded=as_loaded)
    except UserError as error:
        if role:  # only the English message names it: code and parameters are those of the problem
            error.args = (f"{role}: {error}",)
        raise


def _open(
    given: str,
    local: bool,
    token: str | None,
    civitai_key: str | None,
    max_download: int,
    progress: bool,
    as_loaded: bool,
) -> Checkpoint:
    if given.startswith(SHIPPED):
        return read_layout(LocalListing(find_shipped_model(given), label=given))
    source = parse_source(given, local=local)
    if isinstance(source, HubSource):
        return read_layout(open_repository(source, token, max_download, progress), source.path, as_loaded)
    if isinstance(source, CivitaiSource):
        version = open_version(source, civitai_key, max_download, progress)
        return read_layout(version, source.path or version.file, as_loaded)
    return _read_path(source, as_loaded)


def _read_path(source: Path, as_loaded: bool) -> Checkpoint:
    if source.is_file():
        listing = LocalListing(source.parent, (source.name, "adapter_config.json"))
        return read_layout(listing, source.name, as_loaded)
    if not source.is_dir():
        raise UserError("intake.missing", name=str(source))
    if source.name == "unet" and (source / "config.json").is_file():  # the network's own folder
        source = source.parent
    return read_layout(LocalListing(source), as_loaded=as_loaded)


def read_layout(listing: Listing, root: str = "", as_loaded: bool = False) -> Checkpoint:
    """Find out what the file or folder `root` of `listing` is; `as_loaded`: see `open_checkpoint`.

    Raises:
        UserError: if it is missing, a pickle, several models at once, or of no known kind.
    """
    if PurePosixPath(root).suffix.lower() in PICKLES:
        raise UserError("intake.pickle", name=f"{listing.name}/{root}")
    if root in listing.sizes:
        return _file(listing, root, as_loaded)
    inside = _inside(listing, root)
    if root and not inside:
        raise UserError("intake.missing_inside", name=listing.name, path=root)
    if "model_index.json" in inside:
        config = read_json(listing, _join(root, "model_index.json"))
        return _folder("pipeline", listing, root, *find_components(listing, root, config), config)
    if "config.json" in inside and PurePosixPath(root).name in TRAINED_ALONE:  # the network's own folder
        return read_layout(listing, PurePosixPath(root).parent.as_posix().strip("."), as_loaded)
    found = [name for name in LORA_FILES if name in inside]
    folders: list[Network] = [name for name in NETWORKS if f"{name}/{PEFT[0]}" in inside]
    if not found and folders:
        return _adapter_folders(listing, root, folders, inside)
    if not found and any(name.startswith(f"{network}/") for network in TRAINED_ALONE for name in inside):
        networks = [n for n in NETWORKS if any(name.startswith(f"{n}/") for name in inside)]
        return _folder("training checkpoint", listing, root, *find_network(listing, root, networks))
    if not found:
        found = sorted(name for name in inside if name.endswith(".safetensors") and "/" not in name)
    if as_loaded and len(found) > 1 and (chosen := _first_adapter(listing, root, found)):
        return _file(listing, chosen, as_loaded)
    if len(found) == 1:
        return _file(listing, _join(root, found[0]), as_loaded)
    _refuse_folder(_join(listing.name, root), inside, found)


def fingerprint_weights(*checkpoints: Checkpoint) -> dict[str, str]:
    """The SHA-256 of each weight file of some checkpoints, by the name that this very listing gives it."""
    return {f"{c.listing.name}/{f}": c.listing.sha256(f) for c in checkpoints for f in c.weights}


def read_json(listing: Listing, file: str) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        UserError: if it is too large, or not a JSON object.
    """
    name, size = f"{listing.name}/{file}", listing.sizes[file]
    if size > MAX_CONFIG:
        raise UserError("intake.config_too_large", file=name, bytes=size, most=MAX_CONFIG)
    try:
        value = load_table(listing.read(file, 0, size))
    except (ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or ["nested too deeply"])[0][:120]
        raise UserError("intake.config_damaged", file=name, error=reason) from error
    if not isinstance(value, dict):
        raise UserError("intake.config_no_object", file=name)
    return value


def _first_adapter(listing: Listing, root: str, found: Sequence[str]) -> str | None:
    """The adapter of a folder that diffusers loads where no file is named: a file of its own name, else the first.

    Files called after schedulers, optimisers or checkpoints do not count (`_best_guess_weight_name`, diffusers 0.42).
    Files that are no adapters are passed over, where diffusers would fail.
    """
    counted = [name for name in found if not any(word in name for word in ("scheduler", "optimizer", "checkpoint"))]
    ranked = sorted(counted, key=lambda name: (not name.endswith(LORA_FILES[0]), name))
    for name in ranked[:MOST_TRIED]:
        if is_adapter(read_header(listing, _join(root, name)).tensors):
            return _join(root, name)
    return None


def _file(listing: Listing, file: str, as_loaded: bool = False) -> Checkpoint:
    name = f"{listing.name}/{file}"
    if not file.lower().endswith(".safetensors"):
        refuse_other_kind(listing, file)
        raise UserError("intake.not_safetensors", file=name)
    header = read_header(listing, file)
    tensors, known = header.tensors, {"listing": listing, "root": file, "headers": {file: header}}
    if is_adapter(tensors):
        neighbour = _join(PurePosixPath(file).parent.as_posix().strip("."), PEFT[1])
        adapter, beside = parse_adapter(tensors, name, in_part=as_loaded), neighbour in listing.sizes
        if not beside or not (file.endswith(PEFT[0]) or adapter.dialect == "peft"):  # it would be another file's
            return Checkpoint(kind="adapter", **known, adapter=adapter)
        table = read_json(listing, neighbour)
        return Checkpoint(kind="adapter", **known, extras=(neighbour,), adapter=adapter, config=table)
    if any(k.startswith("model.diffusion_model.") for k in tensors):
        return Checkpoint(kind="single file", **known)
    if is_embedding(tensors):
        return Checkpoint(kind="textual inversion", **known, embedding=parse_embedding(tensors, name))
    part = find_bare_part(tensors)
    if part in TRAINED_ALONE:  # accelerate's checkpoints, and a component's file without its folder
        return Checkpoint(kind="training checkpoint", **known, components={part: Component((file,), ())})
    if part is not None:
        raise UserError(f"intake.{part}_alone", file=name)
    raise UserError("intake.unknown_kind", file=name, tensors=[k[:80] for k in list(tensors)[:3]])


def _adapter_folders(listing: Listing, root: str, networks: Sequence[Network], inside: Sequence[str]) -> Checkpoint:
    """Open what peft's own scripts save: an adapter and its configuration in a folder of each network."""
    headers: dict[str, Header] = {}
    configs: dict[str, dict[str, Any]] = {}
    parsed: dict[Network, Adapter] = {}
    others = [n for n in NETWORKS if n not in networks and any(f.startswith(f"{n}/") for f in inside)]
    if others:
        raise UserError(
            "intake.adapter_beside_network", name=_join(listing.name, root), adapters=networks, others=others
        )
    for network in networks:
        file, beside = (_join(root, f"{network}/{name}") for name in PEFT)
        headers[file] = read_header(listing, file)
        if f"{network}/{PEFT[1]}" in inside:
            configs[network] = read_json(listing, beside)
        parsed[network] = parse_adapter(headers[file].tensors, f"{listing.name}/{file}", network)
    return Checkpoint(
        kind="adapter",
        listing=listing,
        root=root,
        headers=headers,
        extras=tuple(_join(root, f"{network}/{PEFT[1]}") for network in configs),
        adapter=join_adapters(parsed),
        config=next(iter(configs.values()), None),
        configs=configs,
    )


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
    return Checkpoint(
        kind=kind,
        listing=listing,
        root=root,
        headers=headers,
        extras=tuple(extras),
        components=components,
        variant=variant,
        config=config,
    )


def _inside(listing: Listing, root: str) -> list[str]:
    """The files of a folder, as paths inside it."""
    start = f"{root}/" if root else ""
    return sorted(file.removeprefix(start) for file in listing.sizes if file.startswith(start))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _refuse_folder(name: str, inside: Sequence[str], found: Sequence[str]) -> NoReturn:
    """Say why a folder cannot be used: several models, only pickles, several training steps, or nothing."""
    if not found:
        refuse_gguf(name, [file for file in inside if "/" not in file])
    top = sorted({file.split("/")[0] for file in inside})
    steps = sorted({file.split("/")[0] for file in inside if file.startswith("checkpoint-") and "/" in file})
    pickles = [file for file in inside if PurePosixPath(file).suffix.lower() in PICKLES]
    if found:
        code, names = "intake.several_models", found
    elif steps:
        code, names = "intake.several_steps", steps
    elif pickles:
        code, names = "intake.only_pickles", pickles
    elif top:
        code, names = "intake.no_known_model", top
    else:
        raise UserError("intake.empty_folder", name=name)
    raise UserError(code, name=name, files=[*names[:6], *(["…"] if len(names) > 6 else [])])
