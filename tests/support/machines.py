"""The machine that the doctor sees, made plain; and the one finding of a check."""

from huggingface_hub import constants

NOWHERE = "http://127.0.0.1:9"  # a port that nobody listens on
VARIABLES = ("SPACE_ID", "SPACES_ZERO_GPU", "HF_TOKEN", "OAUTH_CLIENT_ID")


def make_plain(monkeypatch, tmp_path):
    """No Space, no Hub and an empty cache, whatever the machine that tests."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def only_finding(findings):
    """The one finding; what is not in order says how to mend it."""
    (finding,) = findings
    assert (finding.status == "ok") == (not finding.fix)
    return finding
