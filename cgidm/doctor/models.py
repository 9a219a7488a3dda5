"""The doctor on the Hub, its cache, and the models whose weights do not ship."""

from ..errors import UserError
from ..messages import Note, note
from .environment import ANY_PACKAGE
from .finding import Finding, command_fix, shorten_home
from .machine import Machine

ENOUGH_DISK = 20_000_000_000  # bytes: a base model and a suspect, or two
TIMEOUT = 5  # seconds to wait for the Hub
PROBE_REPO = "timm/vit_small_patch16_224.dino"  # what is requested of the Hub


def check_cache(machine: Machine) -> list[Finding]:
    """The folder of models from the Hub can be written, and has room."""
    name, hub = "the Hub's cache", machine.hub
    if isinstance(hub, Note):
        return [Finding(name, "error", hub, command_fix(ANY_PACKAGE))]
    folder = shorten_home(hub.cache.path)
    if hub.cache.problem:
        problem = note("doctor.unwritable", folder=folder, error=hub.cache.problem)
        return [Finding(name, "error", problem, note("doctor.fix_cache_unwritable"))]
    found = note("doctor.cache", folder=folder, gigabytes=hub.cache.free / 1e9)
    if hub.cache.free < ENOUGH_DISK:
        return [Finding(name, "warning", found, note("doctor.fix_cache_small", gigabytes=ENOUGH_DISK / 1e9))]
    return [Finding(name, "ok", found)]


def check_hub(machine: Machine, timeout: float = TIMEOUT) -> list[Finding]:
    """The Hub answers one short request without a token. Models on this machine need no Hub: this is never an error."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers

    from ..intake.hub_answers import explain_hub_errors

    hub = machine.hub
    if isinstance(hub, Note):
        return [Finding("Hub", "error", hub, command_fix(ANY_PACKAGE))]
    if hub.offline:
        return [Finding("Hub", "warning", note("doctor.hub_offline"), note("doctor.fix_hub_offline"))]
    host = hub.endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2] or "HF_ENDPOINT"  # no password
    try:
        with explain_hub_errors(PROBE_REPO, None):
            url = f"{hub.endpoint}/api/models/{PROBE_REPO}"
            answer = get_session().get(url, headers=build_hf_headers(token=False), timeout=timeout)
    except ValueError:  # out of reach, or no address at all
        return [Finding("Hub", "warning", note("doctor.hub_unreachable", host=host), note("doctor.fix_hub"))]
    if answer.status_code != 200:
        problem = note("doctor.hub_status", host=host, status=answer.status_code, repo=PROBE_REPO)
        return [Finding("Hub", "warning", problem, note("doctor.fix_hub_later"))]
    try:
        known = isinstance(answer.json(), dict)
    except ValueError:
        known = False
    if not known:
        return [Finding("Hub", "warning", note("doctor.hub_other", host=host), note("doctor.fix_hub"))]
    return [Finding("Hub", "ok", note("doctor.hub", host=host))]


def check_embedders(machine: Machine) -> list[Finding]:
    """The weights of CLIP and DINO, which do not ship, are in the Hub's cache."""
    from ..pictures.embedders import SHIPPED_NAME, SOURCES

    found = []
    for name, (_, find) in SOURCES.items():
        if name == SHIPPED_NAME:
            continue
        try:
            find(False)
            found.append(Finding(name, "ok", note("doctor.embedder")))
        except UserError:
            found.append(Finding(name, "warning", note("doctor.embedder_missing"), note("doctor.fix_embedder_missing")))
    return found
