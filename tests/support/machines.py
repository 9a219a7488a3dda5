"""Machines for the doctor's checks, made of plain facts; and the one finding of a check."""

from pathlib import Path

from huggingface_hub import constants

from cgidm.doctor.machine import ROOT, Folder, HubFacts, Machine, TorchFacts
from cgidm.resources import resource_root

NOWHERE = "http://127.0.0.1:9"  # a port that nobody listens on
VARIABLES = ("SPACE_ID", "SPACES_ZERO_GPU", "HF_TOKEN", "OAUTH_CLIENT_ID")
ROOMY = Folder(Path("/tmp"), free=50_000_000_000)


def make_machine(**facts):
    """A machine without fault that is no Space and has no GPU and no Hub, but for `facts`."""
    plain = {
        "root": ROOT,
        "assets": resource_root(),
        "python": (3, 12),
        "packages": frozenset({"mcp", "authlib", "itsdangerous"}),
        "on_space": False,
        "on_zerogpu": False,
        "has_token": False,
        "has_login": False,
        "has_nvidia_driver": False,
        "torch": TorchFacts(version="2.6", cuda=None),
        "memory": 64_000_000_000,
        "temporary": ROOMY,
        "hub": HubFacts(NOWHERE, False, ROOMY),
    }
    chosen = {**plain, **facts}
    return Machine(**{**chosen, "packages": frozenset(chosen["packages"])})


def make_plain(monkeypatch, tmp_path):
    """Make this machine no Space, without a Hub and with an empty cache."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def only_finding(findings, code=None):
    """The one finding, whose sentences exist; what is not ok has a fix."""
    (finding,) = findings
    assert (finding.status == "ok") == (finding.fix is None)
    assert code is None or finding.note.code == f"doctor.{code}", finding.note.code
    return finding
