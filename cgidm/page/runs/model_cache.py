"""Which models a visitor means, and the pairs that are kept loaded.

A visitor names a shipped model, a place on the Hub or Civitai, or hands a file over; never a path of the server's, and
the operator's tokens are used for nobody.
"""

import gc
import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from cgidm import ModelPair, UserError
from cgidm.device import choose_device
from cgidm.evidence.bundle_writer import weights_sha256
from cgidm.evidence.record import ModelsRecord
from cgidm.evidence.record_of_result import anchors_of, commits_of, publications_of
from cgidm.intake.family import compare_bases, lend_configuration
from cgidm.intake.inspect import list_prompt_remarks
from cgidm.intake.layout import Checkpoint, fingerprint_weights, open_checkpoint, read_layout
from cgidm.intake.listing import LocalListing
from cgidm.intake.remarks import list_pair_remarks
from cgidm.intake.source import parse_source
from cgidm.messages import Note
from cgidm.method.memory_plan import free_memory, worth_merging
from cgidm.resources import SHIPPED, example_names, find_example

from . import hardware

EXAMPLES = example_names()
ADAPTER_CONFIG = "adapter_config.json"  # of peft: it states the alpha
MAX_DOWNLOAD = int(float(os.environ.get("CGIDM_MAX_DOWNLOAD_GB", "15")) * 1e9)
MAX_LOADED = int(float(os.environ.get("CGIDM_MAX_LOADED_GB", "12")) * 1e9)
ROOM = 3  # times a pair's weights that should be free before it is loaded: it computes, too


@dataclass(frozen=True)
class RequestedModels:
    """The models as a visitor named them."""

    base: str
    suspect: str  # "" if a file was handed over
    upload: str | None = None  # the file's path, which gradio has checked
    prompt: str = ""


@dataclass(frozen=True, eq=False)
class OpenedModels:
    """The models as their names and headers show them. Can be pickled; nothing is loaded yet."""

    base: Checkpoint
    suspect: Checkpoint
    prompt: str
    warning: Note | None  # if the suspect's writer names another base
    remarks: tuple[Note, ...]  # what else the suspect's files tell
    example: str | None  # the shipped suspect, whose control pictures ship too
    key: str  # of everything that the pair is made of


def models_record(models: OpenedModels, unrelated: OpenedModels | None = None) -> ModelsRecord:
    """How base and suspect are called in the record of a run."""
    roles = {"base": models.base, "suspect": models.suspect}
    return ModelsRecord(
        base=models.base.name,
        suspect=models.suspect.name,
        prompt=models.prompt,
        commits=commits_of(roles),
        publications=publications_of(roles),
        anchors=anchors_of(roles),
        unrelated=None if unrelated is None else unrelated.suspect.name,
        unrelated_sha256=None if unrelated is None else weights_sha256(unrelated.suspect),
        configuration=None if models.base.lender is None else models.base.lender.name,
        warning=models.warning,
        remarks=models.remarks,
    )


def open_models(wanted: RequestedModels, token: str | None = None, civitai_key: str | None = None) -> OpenedModels:
    """Find both models and see whether this machine can take them; nothing is downloaded but headers.

    Args:
        wanted: their names.
        token: the visitor's own, for the Hub.
        civitai_key: the visitor's own, for Civitai.

    Raises:
        UserError: if one is missing, out of reach, unsafe, or too large for this machine.
    """
    base = open_base(wanted.base, token, civitai_key)
    suspect = open_suspect(wanted.suspect, wanted.upload, token, civitai_key)
    if hardware.kind() == "cpu":
        for checkpoint in (base, suspect):
            _check_small(checkpoint)
    name = wanted.suspect.removeprefix(SHIPPED)
    example = name if wanted.suspect.startswith(SHIPPED) else None
    remarks = (*list_pair_remarks(base, suspect), *list_prompt_remarks(suspect, [wanted.prompt]))
    return OpenedModels(
        base, suspect, wanted.prompt, compare_bases(base, suspect), remarks, example, _key(base, suspect, wanted.prompt)
    )


def open_base(base: str, token: str | None = None, civitai_key: str | None = None) -> Checkpoint:
    """The base that was named, and for one in a single file the configuration that it lacks.

    Raises:
        UserError: as above.
    """
    return lend_configuration(_open(base, "base model", token, civitai_key))


def open_suspect(
    suspect: str, upload: str | None, token: str | None = None, civitai_key: str | None = None
) -> Checkpoint:
    """The suspect that was named or handed over; exactly one of the two.

    Raises:
        UserError: as above.
    """
    if bool(suspect.strip()) == (upload is not None):
        raise UserError("page.no_suspect" if upload is None else "page.two_suspects")
    if upload is None:
        return _open(suspect, "suspect", token, civitai_key)
    file = Path(upload)
    beside = (file.name, ADAPTER_CONFIG)  # what is not there is not listed
    return read_layout(LocalListing(file.parent, beside, label="upload"), file.name)


def check_name(given: str) -> None:
    """See that it can be the name of a model; nobody is asked whether there is one.

    Raises:
        UserError: if it can be none.
    """
    if given.startswith(SHIPPED):
        _open_shipped(given)
    else:
        parse_source(given, local=False)


def shipped_prompt(example: str) -> str:
    """The prompt that a shipped suspect was trained with."""
    return find_example(example).prompt


def shipped_controls(example: str) -> list[Path]:
    """The control pictures of a shipped suspect; none of any other name, which may be a path of the server's."""
    return list(find_example(example).control_pictures) if example in EXAMPLES else []


@cache
def _open_shipped(given: str) -> Checkpoint:
    return open_checkpoint(given)


def _open(given: str, role: str, token: str | None, civitai_key: str | None) -> Checkpoint:
    if given.startswith(SHIPPED):
        return _open_shipped(given)
    return open_checkpoint(given, role, local=False, token=token, civitai_key=civitai_key, max_download=MAX_DOWNLOAD)


def _check_small(checkpoint: Checkpoint) -> None:
    size = sum(t.numel for t in checkpoint.tensors.values())
    if size > hardware.LARGEST_ON_CPU:
        most = hardware.LARGEST_ON_CPU
        raise UserError("page.model_needs_gpu", model=checkpoint.name, millions=size / 1e6, most=most / 1e6)


def _key(base: Checkpoint, suspect: Checkpoint, prompt: str) -> str:
    """Same key, same pair: of the weights' digests and commits, not of the names that they go by."""
    parts = [prompt]
    for checkpoint in (base, suspect):
        about, listing = checkpoint.listing.about, checkpoint.listing
        commit = None if about is None else (about.repo, about.sha)
        digests = [listing.stated_sha256(f) for f in checkpoint.weights]
        parts.append(repr((commit, checkpoint.root if commit else "", checkpoint.kind, checkpoint.scale, digests)))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Pairs:
    """Loaded pairs, the most recently used, up to a limit of bytes, and as long as the one in use has room to compute.

    No two share a network, so that no visitor's adapter leaks into another's pair. Equal weights are loaded once,
    whatever they are called; the pair that is handed out names the files of whoever asks.
    """

    def __init__(self, limit: int = MAX_LOADED) -> None:
        self.limit = limit
        self._pairs: OrderedDict[str, ModelPair] = OrderedDict()
        self._loaded_as: dict[str, OpenedModels] = {}  # whose names the pairs were loaded with
        self._lock = threading.Lock()

    def get(self, models: OpenedModels) -> ModelPair:
        """The pair, loaded if need be (and then downloaded).

        Raises:
            UserError: if the models do not fit each other, or cannot be had.
        """
        with self._lock:
            if models.key not in self._pairs:
                size = expected_size(models)
                # before the next one is loaded: both might not fit, and how it is held is chosen from what is free then
                while self._pairs and (self.loaded() + size > self.limit or _short_of(ROOM * size)):
                    self._drop_oldest()
                self._pairs[models.key], self._loaded_as[models.key] = _load(models), models
            self._pairs.move_to_end(models.key)
            pair = self._pairs[models.key]
            while len(self._pairs) > 1 and pair.memory is not None and _short_of(pair.memory.working):
                self._drop_oldest()
            return _named_as(pair, self._loaded_as[models.key], models)

    def _drop_oldest(self) -> None:
        key, _ = self._pairs.popitem(last=False)
        del self._loaded_as[key]
        _free()

    def loaded(self) -> int:
        """Bytes of the weights that are held."""
        return sum(size_of(p) for p in self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)


PAIRS = Pairs()


def size_of(pair: ModelPair) -> int:
    """Bytes of a pair's networks and autoencoder."""
    parts = [*pair.modules, getattr(pair.codec, "vae", None)]
    weights = {id(w): w for p in parts if isinstance(p, torch.nn.Module) for w in p.parameters()}  # some are in two
    return sum(w.numel() * w.element_size() for w in weights.values())


def expected_size(models: OpenedModels) -> int:
    """Bytes that a pair takes at most, as the headers of its weights show: its text encoders too, which it lets go."""
    parts, dtype = [models.base, models.suspect], _dtype(models)
    if models.suspect.kind == "adapter" and worth_merging(torch.device(hardware.device()), dtype):
        parts.append(models.base)  # of the weights that the adapter changes, copies are made
    return sum(t.numel for c in parts for t in c.tensors.values()) * dtype.itemsize


def _load(models: OpenedModels) -> ModelPair:
    from cgidm.families import load_pair  # slow to import: not before somebody runs something

    pair = load_pair(models.base, models.suspect, models.prompt, device=hardware.device(), dtype=_dtype(models))
    print(f"loaded on {hardware.describe()}: {pair.memory}", flush=True)  # the operator's log; names are the visitor's
    return pair


def _named_as(pair: ModelPair, loaded: OpenedModels, models: OpenedModels) -> ModelPair:
    """The pair with the names that its files have in `models`: a record must not hold those of another visit."""
    own = fingerprint_weights(models.base, models.suspect)
    if own == pair.fingerprints:
        return pair
    names = {loaded.base.name: models.base.name, loaded.suspect.name: models.suspect.name}

    def renamed(value: object) -> object:
        return names.get(value, value) if isinstance(value, str) else value

    notes = tuple(replace(n, params={k: renamed(v) for k, v in n.params.items()}) for n in pair.notes)
    return replace(pair, fingerprints=own, notes=notes)


def _short_of(size: int) -> bool:
    """Has the device less than `size` bytes left? False where nobody counts them."""
    free = free_memory(torch.device(hardware.device()))
    return free is not None and free < size


def _dtype(models: OpenedModels) -> torch.dtype:
    """What the networks compute in."""
    return choose_device(models.base, hardware.device()).dtype


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
