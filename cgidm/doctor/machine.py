"""The machine as the doctor's checks see it, gathered once. Tests build one instead.

Importing this module needs the standard library alone. What needs a missing package becomes a note that says so.
"""

import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from ..messages import Note, note
from ..resources import resource_root
from .finding import first_line

ROOT = Path(__file__).resolve().parents[2]
CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
LOOKED_FOR = ("mcp", "authlib", "itsdangerous", "spaces")  # packages that no requirement names

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The first GPU, as torch describes it."""

    name: str
    capability: tuple[int, int]
    free: int  # bytes
    total: int  # bytes
    count: int = 1  # of all GPUs


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """How torch was built, and what it sees."""

    version: str
    cuda: str | None  # the version that it was built for
    gpu: Gpu | None = None
    gpu_error: str = ""  # why a GPU that torch sees cannot be used
    warning: str = ""  # on a driver that is too old


@dataclass(frozen=True)
class Folder:
    """A folder that must be writable."""

    path: Path
    problem: str = ""  # why no file can be made in it
    free: int = 0  # bytes of its disk


@dataclass(frozen=True)
class HubFacts:
    """How this machine reaches the Hub, and where it caches models."""

    endpoint: str
    offline: bool
    cache: Folder


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine is. A note stands for what could not be found out."""

    root: Path  # the folder that holds cgidm/, README.md and requirements.txt
    assets: Path  # the folder of the models and pictures that ship
    python: tuple[int, int]
    packages: frozenset[str]  # those of LOOKED_FOR that are installed
    on_space: bool
    on_zerogpu: bool
    has_token: bool  # HF_TOKEN
    has_login: bool  # OAUTH_CLIENT_ID
    has_nvidia_driver: bool
    torch: TorchFacts | Note | None  # None on ZeroGPU, where the main process must not touch CUDA
    memory: int | None  # bytes, of the machine or of its container; None if the system does not tell
    temporary: Folder | None  # None if no folder can be written
    hub: HubFacts | Note

    @property
    def device(self) -> str:
        """Where a small computation may run: "cuda" or "cpu"."""
        return "cuda" if isinstance(self.torch, TorchFacts) and self.torch.gpu is not None else "cpu"


def gather_machine() -> Machine:
    """Look at this machine. Nothing is downloaded or changed, and nothing raises."""
    on_zerogpu = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as `spaces` reads it
    return Machine(
        root=ROOT,
        assets=resource_root(),
        python=(sys.version_info[0], sys.version_info[1]),
        packages=frozenset(name for name in LOOKED_FOR if find_spec(name) is not None),
        on_space=bool(os.environ.get("SPACE_ID")),
        on_zerogpu=on_zerogpu,
        has_token=bool(os.environ.get("HF_TOKEN")),
        has_login=bool(os.environ.get("OAUTH_CLIENT_ID")),
        has_nvidia_driver=shutil.which("nvidia-smi") is not None,
        torch=None if on_zerogpu else explain_failure(torch_facts),
        memory=memory_limit(),
        temporary=_temporary_folder(),
        hub=explain_failure(hub_facts),
    )


def explain_failure(look: Callable[[], T]) -> T | Note:
    """Call `look`; return what it returns, or a note on what it raised. A damaged library may raise anything."""
    try:
        return look()
    except ModuleNotFoundError as error:
        return note("doctor.package_missing", package=error.name)
    except Exception as error:
        return note("doctor.check_failed", kind=type(error).__name__, error=first_line(error))


def torch_facts() -> TorchFacts:
    """How torch was built, and what it sees."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    built = {"version": str(torch.__version__), "cuda": torch.version.cuda}
    if not available:
        return TorchFacts(**built, warning=first_line(caught[0].message) if caught else "")
    try:
        free, total = torch.cuda.mem_get_info()
        gpu = Gpu(
            name=torch.cuda.get_device_name(),
            capability=torch.cuda.get_device_capability(),
            free=free,
            total=total,
            count=torch.cuda.device_count(),
        )
    except RuntimeError as error:
        return TorchFacts(**built, gpu_error=first_line(error))
    return TorchFacts(**built, gpu=gpu)


def memory_limit(limits: tuple[Path, ...] = CGROUPS) -> int | None:
    """The bytes of memory of the container or of the machine, whichever has less; None if the system does not tell."""
    found = [int(text) for file in limits if file.is_file() and (text := file.read_text().strip()).isdigit()]
    try:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not every system tells
        pass
    return min(found, default=None)


def look_at_folder(path: Path) -> Folder:
    """See whether a file can be made in `path`, or in the nearest folder above it: it is made when first needed."""
    nearest = next(p for p in (path, *path.absolute().parents) if os.path.exists(p))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return Folder(path, free=shutil.disk_usage(nearest).free)
    except OSError as error:
        return Folder(path, error.strerror or type(error).__name__)


def hub_facts() -> HubFacts:
    """How this machine reaches the Hub, and where it caches models."""
    from huggingface_hub import constants

    from ..intake.hub import endpoint

    return HubFacts(endpoint(), bool(constants.HF_HUB_OFFLINE), look_at_folder(Path(constants.HF_HUB_CACHE)))


def _temporary_folder() -> Folder | None:
    try:
        path = Path(tempfile.gettempdir())
    except OSError:
        return None
    if not path.exists():
        return Folder(path, "No such file or directory")
    return look_at_folder(path)
