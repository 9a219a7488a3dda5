"""What is this? A file or a folder that somebody calls a model -> a `Checkpoint`, or one sentence why not.

Only names, sizes and safetensors headers are read. A pickle is refused by its name, before any library can open it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..errors import UserError
from .adapters import Adapter, is_adapter, parse_adapter
from .header import Header, TensorInfo, read_header

Kind = Literal["pipeline", "training checkpoint", "single file", "adapter", "textual inversion"]
PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"}
LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
MAX_CONFIG = 1_000_000  # bytes of a JSON configuration that are read
ACCEPTED = (
    "accepted: a folder in the diffusers layout (with model_index.json), a training checkpoint (with unet/), a LoRA or "
    "PEFT folder, or one .safetensors file"
)


@dataclass(frozen=True)
class Checkpoint:
    """A source understood as far as its names and headers go."""

    kind: Kind
    path: Path
    weights: tuple[Path, ...]  # every safetensors file that belongs to it
    headers: dict[Path, Header]
    adapter: Adapter | None = None
    config: dict[str, Any] | None = None  # model_index.json or adapter_config.json

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """Every tensor; in a folder behind the name of its component, as two components may use one name."""
        return {
            key if file == self.path else f"{file.parent.name}/{key}": info
            for file, header in self.headers.items()
            for key, info in header.tensors.items()
        }

    @property
    def metadata(self) -> dict[str, str]:
        return {k: v for header in self.headers.values() for k, v in header.metadata.items()}


def read_layout(path: Path) -> Checkpoint:
    """Find out what `path` is.

    Raises:
        UserError: if it is missing, a pickle, several models at once, or nothing that is known.
    """
    if path.suffix.lower() in PICKLES:
        raise UserError(f"{path} is a pickle, which can run code when it is opened; {ACCEPTED}")
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        raise UserError(f"{path} does not exist; {ACCEPTED}")
    if (path / "model_index.json").exists():
        return _folder("pipeline", path, path.rglob("*.safetensors"), read_json(path / "model_index.json"))
    found = [path / name for name in LORA_FILES if (path / name).exists()]
    if not found and (path / "unet").is_dir():
        return _folder("training checkpoint", path, path.glob("*/*.safetensors"))
    if not found:
        found = sorted(p for p in path.iterdir() if p.suffix == ".safetensors")
    if len(found) == 1:
        return _file(found[0])
    _explain(path, found)


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file as a table.

    Raises:
        UserError: if it is large, or no JSON object.
    """
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes; accepted: at most {MAX_CONFIG:,}")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} cannot be read ({str(error).splitlines()[0]:.120}); accepted: a JSON object"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is JSON but no table; accepted: a JSON object")
    return value


def _file(path: Path) -> Checkpoint:
    if path.suffix.lower() != ".safetensors":
        raise UserError(f"{path} is not a .safetensors file; {ACCEPTED}")
    header = read_header(path)
    tensors, headers = header.tensors, {path: header}
    if is_adapter(tensors):
        beside = path.parent / "adapter_config.json"
        config = read_json(beside) if path.name == "adapter_model.safetensors" and beside.exists() else None
        return Checkpoint("adapter", path, (path,), headers, parse_adapter(tensors, str(path)), config)
    if any(k.startswith("model.diffusion_model.") for k in tensors):
        return Checkpoint("single file", path, (path,), headers)
    if 0 < len(tensors) <= 4 and all(len(t.shape) in (1, 2) for t in tensors.values()):
        return Checkpoint("textual inversion", path, (path,), headers)
    shown = ", ".join(f"{k:.80}" for k in list(tensors)[:3]) or "no tensor at all"
    raise UserError(f"{path} is a sound file of no known kind (it holds {shown}); {ACCEPTED}")


def _folder(kind: Kind, path: Path, files: Any, config: dict[str, Any] | None = None) -> Checkpoint:
    weights = tuple(sorted(files))
    if not weights:
        _explain(path, [])
    return Checkpoint(kind, path, weights, {f: read_header(f) for f in weights}, config=config)


def _explain(path: Path, found: Sequence[Path]) -> NoReturn:
    """Why a folder cannot be used: several models, only pickles, several training steps, or nothing."""
    steps = sorted(p.name for p in path.glob("checkpoint-*") if p.is_dir())
    pickles = sorted(p.name for p in path.rglob("*") if p.suffix.lower() in PICKLES)
    if found:
        what, names = "holds several models; name one", [p.name for p in found]
    elif steps:
        what, names = "holds several steps of one training; name one", steps
    elif pickles:
        what, names = "holds its weights only as pickles, which can run code when they are opened", pickles
    else:
        what, names = "holds no model that is known", sorted(p.name for p in path.iterdir())
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    raise UserError(f"{path} {what} ({listed or 'it is empty'}); {ACCEPTED}")
