"""What a record tells for a notice: the works, the model and where it is, the answer and how often it is wrong."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...judging.verdict import is_positive
from ...messages.text import single_line
from ..record import PictureRecord, Record
from ..reports.report import file_name
from .file_hashes import short_hash

AIR_IDS = re.compile(r":civitai:(?P<model>\d+)@(?P<version>\d+)", re.ASCII)
LONGEST = 400


@dataclass(frozen=True)
class SuspectFile:
    """A weight file of the suspect."""

    name: str
    sha256: str
    autov3: str | None  # as Civitai states it, or as it was computed of the file; None: not known

    @property
    def autov2(self) -> str:
        """The beginning of the SHA-256."""
        return short_hash(self.sha256)


@dataclass(frozen=True, kw_only=True)
class ExportFacts:
    """What a record tells.

    Attributes:
        record: the run.
        seal: of its bundle; None: not known.
        outcome: the one answer: of the picture, or of all pictures together.
        p_value: of that answer.
        named: pictures that have a positive answer of their own.
        files: the suspect's.
        address: of the suspect's page; None: the record shows none.
        air: the suspect's identifier on Civitai.
        version: number of the version there.
    """

    record: Record
    seal: str | None
    outcome: str
    p_value: float | None
    named: tuple[PictureRecord, ...]
    files: tuple[SuspectFile, ...]
    address: str | None
    air: str | None
    version: str | None

    @property
    def is_positive(self) -> bool:
        """Whether the one answer speaks for training."""
        return is_positive(self.outcome)

    @property
    def suspect(self) -> str:
        """How the suspect was named."""
        return single_line(self.record.models.suspect, LONGEST)


def read_facts(record: Record, seal: str | None = None, autov3: Mapping[str, str] | None = None) -> ExportFacts:
    """Collect what a record tells.

    Args:
        record: of a run.
        seal: of its bundle.
        autov3: SHA-256 of a file -> its AutoV3, where somebody has the file.
    """
    together, pictures = record.set, record.pictures
    judged = pictures[0] if together is None else together
    publication = record.models.publications.get("suspect")
    known = dict(autov3 or {})
    if publication is not None and {"SHA256", "AutoV3"} <= publication.digests.keys():
        known.setdefault(publication.digests["SHA256"].lower(), single_line(publication.digests["AutoV3"]).upper())
    ids = None if publication is None else AIR_IDS.search(publication.air)
    return ExportFacts(
        record=record,
        seal=seal,
        outcome="cannot tell" if record.stopped is not None else judged.outcome,
        p_value=judged.p_value,
        named=tuple(p for p in pictures if is_positive(p.outcome)),
        files=tuple(SuspectFile(n, sha, known.get(sha.lower())) for n, sha in suspect_files(record).items()),
        address=_address(record, ids),
        air=None if publication is None else single_line(publication.air, LONGEST),
        version=None if ids is None else ids["version"],
    )


def suspect_files(record: Record) -> dict[str, str]:
    """Return the suspect's weight files among those of a record, and the SHA-256 of each."""
    named, base, files = record.models.suspect, record.models.base, record.models.sha256
    found = {n: sha for n, sha in files.items() if n == named or n.startswith(f"{named}/")}
    rest = {n: sha for n, sha in files.items() if n != base and not n.startswith(f"{base}/")}
    return {single_line(n, LONGEST): single_line(sha, 64) for n, sha in (found or rest).items()}


def picture_line(picture: PictureRecord) -> str:
    """Name a picture by its file and its digest."""
    return f"{file_name(picture.name)} (SHA-256 {single_line(picture.sha256, 64)})"


def _address(record: Record, ids: re.Match[str] | None) -> str | None:
    if ids is not None:
        return f"https://civitai.com/models/{ids['model']}?modelVersionId={ids['version']}"
    commit = record.models.commits.get("suspect")
    repository = re.match(r"[\w.-]+/[\w.-]+(?=@)", record.models.suspect, re.ASCII)
    if commit is None or repository is None or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        return None
    return f"https://huggingface.co/{repository[0]}/tree/{commit}"
