"""Compare the digests that a record holds with what the Hub or Civitai states of the same files now.

Names, dates and digests are requested, and no weights.
"""

from dataclasses import dataclass
from typing import Literal

from ...errors import UserError
from ...intake.civitai.answers import CivitaiNotFound
from ...intake.civitai.listing import look_up_version
from ...intake.civitai.location import parse_civitai
from ...intake.civitai.version import choose_file
from ...intake.hub import open_repository
from ...intake.source import HubSource
from ...messages import Note, note
from ..record import AnchorRecord, Record
from ..record_of_result import CIVITAI, recorded_digests

State = Literal["same", "changed", "gone", "unreachable", "contradicted", "unanchored"]
GONE = ("hub_not_found", "hub_revision_not_found", "hub_disabled", "hub_file_gone", "civitai_no_download")


@dataclass(frozen=True)
class PublishedCheck:
    """What is published of a model now, beside what a record holds of it."""

    role: str  # "suspect" or "base"
    state: State
    note: Note

    def __str__(self) -> str:
        return f"{self.role}: {self.note}"


def check_published(record: Record, token: str | None = None, civitai_key: str | None = None) -> list[PublishedCheck]:
    """Compare base and suspect of a record with what is published now.

    Args:
        record: of a run.
        token: the person's own, for gated repositories of the Hub.
        civitai_key: the person's own, for models that Civitai shows to accounts alone.
    """
    anchors = record.models.anchors
    return [
        check_anchor(role, anchors.get(role), recorded_digests(record, role), token, civitai_key)
        for role in ("suspect", "base")
    ]


def check_anchor(
    role: str, anchor: AnchorRecord | None, recorded: dict[str, str], token: str | None, civitai_key: str | None
) -> PublishedCheck:
    """Compare one model with what is published of it now.

    Args:
        role: "suspect" or "base".
        anchor: where it was read from.
        recorded: its weight files, by the names that they have there -> SHA-256.
        token: as above.
        civitai_key: as above.
    """
    if anchor is None:
        return PublishedCheck(role, "unanchored", note("evidence.published.unanchored"))
    if anchor.location == CIVITAI:
        return _on_civitai(role, anchor, recorded, civitai_key)
    return _on_hub(role, anchor, recorded, token)


def _on_hub(role: str, anchor: AnchorRecord, recorded: dict[str, str], token: str | None) -> PublishedCheck:
    params = {"place": anchor.location, "version": anchor.version}
    try:
        then = _hub_digests(anchor.location, anchor.version, token)
        now = _hub_digests(anchor.location, None, token)
    except UserError as error:
        return _refused(role, error, params)
    if then is None or now is None:
        return PublishedCheck(role, "unreachable", note("evidence.published.unreachable", **params))
    return _compare(role, recorded, then, now, params)


def _hub_digests(repo: str, revision: str | None, token: str | None) -> dict[str, str] | None:
    """The SHA-256 of each large file, as the Hub states it; None if it did not answer."""
    listing = open_repository(HubSource(repo, revision, "", repo), token)
    if listing.about is None or listing.about.cached:
        return None
    return {file: digest for file in listing.sizes if (digest := listing.stated_sha256(file)) is not None}


def _on_civitai(role: str, anchor: AnchorRecord, recorded: dict[str, str], key: str | None) -> PublishedCheck:
    params = {"place": anchor.location, "version": anchor.version}
    try:
        source = parse_civitai(anchor.version)
        if source is None:
            return PublishedCheck(role, "gone", note("evidence.published.gone", **params, problem="no AIR"))
        version = look_up_version(source, key)
        if not version.downloadable:
            problem = note("intake.civitai_no_download", name=source.name)
            return PublishedCheck(role, "gone", note("evidence.published.gone", **params, problem=problem))
        file = choose_file(version, source)
    except UserError as error:
        return _refused(role, error, params)
    stated = {name: file.digests["SHA256"] for name in recorded if "SHA256" in file.digests}
    return _compare(role, recorded, stated, stated, params)


def _compare(
    role: str, recorded: dict[str, str], then: dict[str, str], now: dict[str, str], params: dict[str, str]
) -> PublishedCheck:
    """What was read then, beside what is stated of that version, and of the newest."""
    if not recorded or any(name not in then for name in recorded):
        return PublishedCheck(role, "gone", note("evidence.published.no_digest", **params))
    if other := [name for name, digest in recorded.items() if then[name] != digest]:
        named = {"file": other[0], "recorded": recorded[other[0]], "stated": then[other[0]]}
        return PublishedCheck(role, "contradicted", note("evidence.published.contradicted", **params, **named))
    if other := [name for name, digest in recorded.items() if now.get(name) != digest]:
        return PublishedCheck(role, "changed", note("evidence.published.changed", **params, file=other[0]))
    return PublishedCheck(role, "same", note("evidence.published.same", **params, files=len(recorded)))


def _refused(role: str, error: UserError, params: dict[str, str]) -> PublishedCheck:
    gone = isinstance(error, CivitaiNotFound) or error.code.rpartition(".")[2] in GONE
    if gone:
        return PublishedCheck(role, "gone", note("evidence.published.gone", **params, problem=error.note))
    return PublishedCheck(role, "unreachable", note("evidence.published.refused", **params, problem=error.note))
