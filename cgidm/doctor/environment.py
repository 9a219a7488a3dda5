"""`cgidm doctor`: what a Space, or a fresh machine, needs, looked at one by one; what is wrong comes with its fix.

It must answer where half of the packages are missing, and in an old Python: a check itself imports what it needs, and
what it does not find is a finding too. Nothing is downloaded or changed.
"""

import argparse
import dataclasses
import json
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from .front_matter import OLDEST_PYTHON, complaints
from .requirements import find_lack, read_requirements

ROOT = Path(__file__).resolve().parents[2]
GB = 1e9
PIP = "python -m pip install"
ANY_PACKAGE = f"{PIP} -r requirements.txt"
REINSTALL = f"{PIP} --force-reinstall torch torchvision"

NEWEST_PYTHON = (3, 13)  # tested
ALWAYS = ("open_clip_torch>=2.29",)  # before it, a model's name meant another activation: other scores of CLIP
EXTRAS = {"mcp": "tools for agents", "authlib": "logging in", "itsdangerous": "logging in"}  # of gradio
BLACKWELL = (10, 0)  # capability; RTX PRO 6000, which ZeroGPU lends, has 12.0
BLACKWELL_CUDA = (12, 8)  # wheels for an older one hold no code for it
ENOUGH_DISK = 20 * GB  # a base model and a fine-tuned one, or two
ENOUGH_MEMORY = 12 * GB
CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
QUICKER = 1.2  # times as fast: what counts as more than noise
TIMEOUT = 5  # seconds to wait for the Hub
ASKED = "timm/vit_small_patch16_224.dino"  # what the Hub is asked for

Status = Literal["ok", "careful", "broken"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was seen of one thing; `fix` says what to do where it is not ok."""

    name: str
    status: Status
    said: str
    fix: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command by itself, without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="cgidm doctor", description="what this machine, or Space, still needs")
    add_options(parser)
    return diagnose(parser.parse_args(sys.argv[2:] if arguments is None else arguments))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="plain data instead of lines")


def diagnose(options: argparse.Namespace) -> int:
    """Print what `examine` finds; 0 if nothing is broken, else 1."""
    findings = examine()
    plain = [dataclasses.asdict(f) for f in findings]
    print(json.dumps(plain, indent=2) if options.json else "\n".join(report_lines(findings)))
    return int(any(f.status == "broken" for f in findings))


def report_lines(findings: Sequence[Finding]) -> list[str]:
    """One line a finding, with the fix below it, and the count."""
    lines = []
    for f in findings:
        lines.append(f"{f.status:9s}{f.name}: {f.said}")
        lines += [f"{'':9s}fix: {f.fix}"] if f.fix else []
    broken, careful = (sum(f.status == s for f in findings) for s in ("broken", "careful"))
    return [*lines, f"{broken or 'nothing'} broken, {careful} to be careful with"]


def examine(root: Path = ROOT) -> list[Finding]:
    """Look at everything. `root` is the folder in which `cgidm/`, README.md and `assets/` lie.

    A library that is damaged may raise anything; that is a finding, and the next thing is looked at.
    """
    found: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            found += check(root)
        except ModuleNotFoundError as error:
            found.append(Finding(name, "broken", f"not looked at: {error.name} is not installed", ANY_PACKAGE))
        except Exception as error:
            fix = f"what it names; a damaged package is installed anew by {PIP} --force-reinstall"
            found.append(Finding(name, "broken", f"not looked at: {type(error).__name__}: {_line(error)}", fix))
    return found


def check_python(root: Path, running: tuple[int, int] = (sys.version_info[0], sys.version_info[1])) -> list[Finding]:
    said = ".".join(map(str, running))
    if running < OLDEST_PYTHON:
        fix = 'python_version: "3.12" in README.md of a Space, whose default is 3.10; elsewhere install Python 3.12'
        return [Finding("Python", "broken", f"{said} is too old: 3.11 to 3.13 are needed", fix)]
    if running > NEWEST_PYTHON:
        return [Finding("Python", "careful", f"{said} has not been tested", "Python 3.11 to 3.13")]
    return [Finding("Python", "ok", said)]


def check_packages(root: Path) -> list[Finding]:
    """Every package of requirements.txt, where that lies beside, is there and new enough."""
    wanted = read_requirements(root / "requirements.txt")
    broken = []
    for text in dict.fromkeys([*wanted, *ALWAYS]):
        try:
            if lack := find_lack(text):
                name, said = lack
                broken.append(Finding(f"package {name}", "broken", said, f'{PIP} -U "{text}"'))
        except ValueError:
            said = f"requirements.txt has {text!r}, which names no package"
            broken.append(Finding("packages", "broken", said, "a line such as torch>=2.6"))
    if broken:
        return broken
    if not wanted:
        fix = "run it from the whole repository, whose requirements.txt says what is needed"
        return [Finding("packages", "careful", "no requirements.txt beside the library says what is needed", fix)]
    return [Finding("packages", "ok", f"all {len(wanted)} of requirements.txt are there and new enough")]


def check_gradio(root: Path) -> list[Finding]:
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        said = f"{', '.join(missing)} missing: no {' and no '.join(dict.fromkeys(EXTRAS[m] for m in missing))}"
        return [Finding("gradio's extras", "careful", said, f'{PIP} "gradio[mcp,oauth]"')]
    return [Finding("gradio's extras", "ok", "logging in and tools for agents are there")]


def check_space(root: Path) -> list[Finding]:
    """What is asked of the environment where this is a Space."""
    if not _on_space():
        return [Finding("Space", "ok", "this is no Space")]
    found = []
    if _on_zerogpu() and find_spec("spaces") is None:
        fix = f"{PIP} spaces; a Space with `sdk: gradio` brings it: Settings, Factory rebuild"
        found.append(Finding("spaces", "broken", "not installed, and on ZeroGPU nothing else lends the GPU", fix))
    if os.environ.get("HF_TOKEN"):
        fix = "delete the secret HF_TOKEN unless something else needs it; visitors log in with their own account"
        found.append(Finding("HF_TOKEN", "careful", "set, but the page never uses it for visitors", fix))
    if not os.environ.get("OAUTH_CLIENT_ID"):
        fix = "hf_oauth: true in README.md"
        found.append(Finding("login", "careful", "visitors cannot log in, so they cannot use gated models", fix))
    return found or [Finding("Space", "ok", "on ZeroGPU" if _on_zerogpu() else "this is one")]


def check_front_matter(root: Path) -> list[Finding]:
    """What README.md, where it lies beside, tells the Hub of the Space."""
    if not (root / "README.md").is_file():
        return []
    broken = [Finding("front matter", "broken", said, fix) for said, fix in complaints(root)]
    return broken or [Finding("front matter", "ok", "README.md describes a Space")]


def check_device(root: Path) -> list[Finding]:
    if _on_zerogpu():  # in a Space's main process CUDA must not be touched
        return [Finding("device", "ok", "ZeroGPU lends one for each run; it was not looked at")]
    import torch

    there, warning = _cuda()
    built_for = torch.version.cuda
    if not there and not warning and shutil.which("nvidia-smi") is None:
        fix = "for Stable Diffusion a machine with a GPU; on a Space: Settings, Hardware"
        return [Finding("device", "careful", "no GPU: only small models such as the shipped one", fix)]
    if not there:
        sees = f"torch, built for CUDA {built_for}, sees no GPU" if built_for else "torch was built without CUDA"
        said = ": ".join(filter(None, [f"there is an NVIDIA driver, but {sees}", warning]))
        fix = f"update the driver, or {REINSTALL}, built for the CUDA that nvidia-smi names"
        return [Finding("device", "careful", said, fix)]
    try:
        capability = torch.cuda.get_device_capability()
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
    except RuntimeError as error:
        fix = "end what else uses the GPU, or restart the machine"
        return [Finding("device", "broken", f"torch sees a GPU and cannot use it: {_line(error)}", fix)]
    code = f"sm_{capability[0]}{capability[1]}"
    if built_for and capability >= BLACKWELL and _numbers(built_for) < BLACKWELL_CUDA:
        fix = f"{REINSTALL}, built for CUDA 12.8 or newer"
        said = f"{name} ({code}) needs CUDA 12.8, and torch {torch.__version__} was built for {built_for}"
        return [Finding("device", "broken", said, fix)]
    kinds = "bf16" if capability >= (8, 0) else "no bf16"
    more = f", the first of {n}" if (n := torch.cuda.device_count()) > 1 else ""
    said = f"{name}{more}: {free / GB:.1f} of {total / GB:.1f} GB free, {code}, {kinds}"
    return [Finding("device", "ok", said)]


def check_memory(root: Path) -> list[Finding]:
    """Of the machine, or of the container that this runs in."""
    limits = [int(text) for file in CGROUPS if file.is_file() and (text := file.read_text().strip()).isdigit()]
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not every system tells
        pass
    if not limits:
        return []
    said = f"{min(limits) / GB:.1f} GB"
    if min(limits) < ENOUGH_MEMORY:
        fix = "a larger machine, unless you use small models such as the shipped one"
        return [Finding("memory", "careful", f"{said}; two Stable Diffusion 1.x in float32 take 8 GB", fix)]
    return [Finding("memory", "ok", said)]


def check_temporary(root: Path) -> list[Finding]:
    fix = "set TMPDIR to a folder that can be written"
    try:
        folder = Path(tempfile.gettempdir())
    except OSError:
        return [Finding("temporary files", "broken", "no folder for them can be written", fix)]
    if why := _unwritable(folder):
        return [Finding("temporary files", "broken", f"{_short(folder)} cannot be written: {why}", fix)]
    return [Finding("temporary files", "ok", f"{_short(folder)} can be written")]


def check_cache(root: Path) -> list[Finding]:
    """The folder into which models from the Hub go: can be written, and has room."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))  # it is made when first needed
    fix = "set HF_HUB_CACHE to a folder that can be written"
    if why := _unwritable(there):
        return [Finding("the Hub's cache", "broken", f"{_short(folder)} cannot be written: {why}", fix)]
    free = shutil.disk_usage(there).free
    said = f"{_short(folder)} can be written, {free / GB:.1f} GB free"
    if free < ENOUGH_DISK:
        fix = f"make room for {ENOUGH_DISK / GB:.0f} GB, or set HF_HUB_CACHE to a folder on a larger disk"
        return [Finding("the Hub's cache", "careful", said, fix)]
    return [Finding("the Hub's cache", "ok", said)]


def check_hub(root: Path) -> list[Finding]:
    """One short question, without a token. Models on this machine need no Hub: it is never broken."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers

    from ..intake.hub import endpoint
    from ..intake.hub_answers import in_sentences

    if constants.HF_HUB_OFFLINE:
        said = "not asked, as HF_HUB_OFFLINE is set: models on this machine and in the Hub's cache can be used"
        return [Finding("Hub", "careful", said, "unset HF_HUB_OFFLINE (and TRANSFORMERS_OFFLINE) to use the Hub")]
    place = endpoint().partition("://")[2].partition("/")[0].rpartition("@")[2] or "HF_ENDPOINT"  # no password
    fix = "check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT, or use models on this machine"
    url = f"{endpoint()}/api/models/{ASKED}"
    try:
        with in_sentences(ASKED, None):
            answer = get_session().get(url, headers=build_hf_headers(token=False), timeout=TIMEOUT)
    except ValueError:  # out of reach, or no address at all
        said = f"{place} cannot be reached: models on this machine and in the Hub's cache can be used"
        return [Finding("Hub", "careful", said, fix)]
    if answer.status_code != 200:
        said = f"{place} answers {answer.status_code} when asked for {ASKED}"
        return [Finding("Hub", "careful", said, f"try again later; {fix}")]
    try:
        known = isinstance(answer.json(), dict)
    except ValueError:
        known = False
    if not known:
        return [Finding("Hub", "careful", f"what answers at {place} is not the Hub", fix)]
    return [Finding("Hub", "ok", f"{place} answers")]


def check_assets(root: Path) -> list[Finding]:
    """The models and pictures that ship."""
    from .assets import find_faults

    return [
        Finding(name, "broken", _line(said), fix) if said else Finding(name, "ok", "whole")
        for name, (said, fix) in find_faults(root).items()
    ]


def check_embedders(root: Path) -> list[Finding]:
    """CLIP and DINO, whose weights do not ship."""
    from ..pictures.embedders import SHIPPED_NAME, SOURCES

    found = []
    for name, (_, find) in SOURCES.items():
        if name == SHIPPED_NAME:
            continue
        try:
            find(False)
            found.append(Finding(name, "ok", "its weights are in the Hub's cache"))
        except OSError as error:
            fix = "python -m cgidm authenticate ... --download; on a Space preload_from_hub in README.md"
            found.append(Finding(name, "careful", f"its score will be missing: {_line(error)}", fix))
    return found


def check_itself(root: Path) -> list[Finding]:
    """On the device, or on the processor where the device must not be touched."""
    from .self_test import TOLERANCE, gradient_error

    device = "cuda" if not _on_zerogpu() and _cuda()[0] else "cpu"
    try:
        error = gradient_error(device)
    except RuntimeError as refusal:
        said = f"a small gradient cannot be computed on {device}: {_line(refusal)}"
        return [Finding("computing", "broken", said, f"end what else uses the device, or {REINSTALL}, built for it")]
    if not error <= TOLERANCE:  # NaN is no answer
        said = f"a small gradient comes out wrong on {device}: no score can be trusted"
        return [Finding("computing", "broken", said, f"{REINSTALL}, or another machine")]
    return [Finding("computing", "ok", f"a small gradient comes out right on {device}")]


def check_bfloat16(root: Path) -> list[Finding]:
    """Where a processor computes: is `--precision bfloat16` the quicker one? It depends on its instructions alone."""
    if _on_zerogpu() or _cuda()[0]:
        return []
    from .self_test import bfloat16_speed

    times = bfloat16_speed()
    if times > QUICKER:
        said = f"a convolution is {times:.1f} times as fast as in float32, so --precision bfloat16 saves time"
    else:
        said = f"a convolution takes {1 / times:.1f} times as long as in float32: leave --precision as it is"
    return [Finding("bfloat16", "ok", said)]


CHECKS: dict[str, Callable[[Path], list[Finding]]] = {
    "Python": check_python,
    "packages": check_packages,
    "gradio's extras": check_gradio,
    "Space": check_space,
    "front matter": check_front_matter,
    "device": check_device,
    "memory": check_memory,
    "temporary files": check_temporary,
    "the Hub's cache": check_cache,
    "Hub": check_hub,
    "what ships": check_assets,
    "CLIP and DINO": check_embedders,
    "computing": check_itself,
    "bfloat16": check_bfloat16,
}


def _on_space() -> bool:
    return bool(os.environ.get("SPACE_ID"))


def _on_zerogpu() -> bool:
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as `spaces` reads it


def _cuda() -> tuple[bool, str]:
    """Whether torch sees a GPU, and what it says of a driver that is too old."""
    import torch

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        return torch.cuda.is_available(), _line(heard[0].message) if heard else ""


def _unwritable(folder: Path) -> str:
    """Why no file can be made in `folder`; blank if one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:2])


def _short(text: object) -> str:
    home = os.path.expanduser("~").rstrip("/")
    return str(text).replace(f"{home}/", "~/") if home else str(text)


def _line(error: object) -> str:
    return _short((str(error).strip().splitlines() or [type(error).__name__])[0])
