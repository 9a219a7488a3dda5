"""What is published now, beside what a record holds: stand-ins of the Hub and of Civitai answer, or do not."""

import dataclasses

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from cgidm.cli import main
from cgidm.evidence.anchors.published import check_published
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.record_of_result import anchors_of, commits_of, make_record, publications_of
from cgidm.evidence.reports.sources import origin_sentences
from cgidm.intake.layout import open_checkpoint
from cgidm.resources import SHIPPED_BASE, find_example
from tests.support import hub_server
from tests.support.bundles import MODELS
from tests.support.civitai_server import File, Reply, Version, in_place_of_civitai
from tests.support.hub_server import SHA, Repository
from tests.support.results import result_of

REPO = "org/lora"
FILE = "pytorch_lora_weights.safetensors"
LORA = find_example("rollandin-lora").checkpoint.joinpath(FILE).read_bytes()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    close_session()
    with hub_server.serve({REPO: Repository({FILE: LORA})}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
    close_session()


def models_of(suspect):
    roles = {"suspect": suspect}
    found = {"anchors": anchors_of(roles), "commits": commits_of(roles), "publications": publications_of(roles)}
    return dataclasses.replace(MODELS, suspect=suspect.name, **found)


def result_with(suspect):
    base = open_checkpoint(SHIPPED_BASE)
    digests = {f"{c.listing.name}/{f}": c.listing.sha256(f) for c in (base, suspect) for f in c.weights}
    base_files = tuple(f"{base.listing.name}/{f}" for f in base.weights)
    return dataclasses.replace(result_of([2.0]), fingerprints=digests, base_files=base_files)


def record_of_suspect(given):
    suspect = open_checkpoint(given)
    return make_record(result_with(suspect), models_of(suspect))


def states(record):
    return {check.role: check.state for check in check_published(record)}


def test_what_is_published_is_compared_and_no_weights_are_requested(hub):
    record = record_of_suspect(REPO)
    hub.seen.clear()
    assert states(record) == {"suspect": "same", "base": "unanchored"}
    assert all(path.startswith("/api/models/") for _, path, _, _ in hub.seen)


def test_a_record_says_where_its_suspect_was_read_from(hub):
    record = record_of_suspect(REPO)
    anchor = record.models.anchors["suspect"]
    assert (anchor.location, anchor.version) == (REPO, SHA) and anchor.retrieved is not None
    assert anchor.stated == {FILE: list(record.models.sha256.values())[-1]}
    said = " ".join(origin_sentences(record))
    assert f"commit {SHA}" in said and f", on {anchor.retrieved[:10]}." in said
    assert "is as that place stated it" in said


def test_a_digest_that_the_place_did_not_state_is_said(hub):
    record = record_of_suspect(REPO)
    forged = dataclasses.replace(record.models, sha256=dict.fromkeys(record.models.sha256, "0" * 64))
    record = dataclasses.replace(record, models=forged)
    assert "is NOT what that place stated" in " ".join(origin_sentences(record))
    assert states(record)["suspect"] == "contradicted"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"files": {FILE: LORA + b"x"}}, "contradicted"),  # that very commit states another digest
        ({"files": {"other.safetensors": LORA}}, "gone"),
        ({"status": 404, "headers": {"X-Error-Code": "RepoNotFound"}}, "gone"),
        ({"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, "unreachable"),
        ({"status": 429}, "unreachable"),
        ({"status": 500}, "unreachable"),
    ],
)
def test_what_was_changed_or_taken_away(hub, changes, state):
    record = record_of_suspect(REPO)
    for name, value in changes.items():
        setattr(hub.repositories[REPO], name, value)
    assert states(record)["suspect"] == state


def test_a_newer_file_beside_the_recorded_commit(hub, monkeypatch):
    record = record_of_suspect(REPO)
    plain = hub_server.Handler.describe

    def describe(self, name, repo, revision):
        other = Repository({FILE: LORA + b"x"}) if revision == "main" else repo
        plain(self, name, other, revision)

    monkeypatch.setattr(hub_server.Handler, "describe", describe)
    assert states(record)["suspect"] == "changed"


def test_a_hub_that_does_not_answer(hub, monkeypatch):
    record = record_of_suspect(REPO)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert states(record)["suspect"] == "unreachable"


def test_civitai_is_asked_for_its_description_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    version = Version(7, 70, [File(700, LORA)])
    with in_place_of_civitai(monkeypatch, version) as server:
        record = record_of_suspect("civitai:7@70")
        said = " ".join(origin_sentences(record))
        assert "read from Civitai, version urn:air:sd1:lora:civitai:7@70+700, of 2025-01-15, on 20" in said
        assert "is as that place stated it" in said and "handed over. Nothing here shows who" not in said
        server.seen.clear()
        assert states(record)["suspect"] == "same"
        assert {path for _, path, _, _ in server.seen} == {"/api/v1/model-versions/70"}
        version.files[0].data = LORA + b"x"
        assert states(record)["suspect"] == "contradicted"
        version.fields["usageControl"] = "Generation"
        assert states(record)["suspect"] == "gone"
        server.versions.clear()
        assert states(record)["suspect"] == "gone"
        server.replies["/api/v1/model-versions/70"] = Reply(status=500)
        assert states(record)["suspect"] == "unreachable"


def test_verify_online_prints_it_and_its_exit_code(hub, tmp_path, capsys):
    suspect = open_checkpoint(REPO)
    write_evidence(result_with(suspect), tmp_path / "folder", models_of(suspect))
    assert main(["verify", str(tmp_path / "folder"), "--online"]) == 0
    said = capsys.readouterr().out
    assert (
        f"suspect: The same: {REPO} states the recorded SHA-256 for {SHA}, and for its newest files (1 compared)"
        in said
    )
    assert "base: A file that was handed over" in said
    assert "not shown to be as published now" in said.splitlines()[-1]
    hub.repositories[REPO].files[FILE] = LORA + b"x"
    assert main(["verify", str(tmp_path / "folder"), "--online"]) == 1
    assert "NOT as published" in capsys.readouterr().out.splitlines()[-1]
