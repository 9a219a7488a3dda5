"""What Civitai states of a model's version, read as if it were hostile, and which of its files is the suspect.

Fields: https://developer.civitai.com/site/reference/model-versions
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from ...messages.text import single_line
from ..listing import Publication
from .answers import CivitaiError, CivitaiNotFound
from .location import LARGEST_ID, CivitaiSource

DIGESTS = {"SHA256": 64, "AutoV2": 10, "AutoV3": 12}  # as the site names them -> hex digits
WEIGHTS = {"model", "pruned model", "diffusion model", "unet"}  # types of files that hold the trained network
LISTED = 6  # names of files in an error
MAX_WORDS = 30  # trained words that are kept


@dataclass(frozen=True, kw_only=True)
class VersionFile:
    """One file of a version."""

    number: int
    name: str  # without a folder, in characters that a file name may have everywhere
    kind: str  # "model", "training data", "vae", ..., in lower case
    primary: bool
    digests: Mapping[str, str]  # stated: "SHA256", "AutoV2", "AutoV3", in lower case
    properties: Mapping[str, str]  # format, size, fp, in lower case

    @property
    def is_safetensors(self) -> bool:
        """Whether its name says so."""
        return self.name.lower().endswith(".safetensors")


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A published version."""

    number: int
    model: int
    air: str | None
    name: str
    model_name: str
    published: str | None  # ISO 8601
    base_model: str | None
    trained_words: tuple[str, ...]
    files: tuple[VersionFile, ...]
    downloadable: bool  # its owner and Civitai let it be downloaded
    early_access: str | None  # until when it is sold; ISO 8601, or "" if no end is stated


def newest_version(answer: Any, name: str) -> tuple[int, int]:
    """Return the id of a model's newest published version, and how many are published.

    Args:
        answer: to `GET /api/v1/models/{id}`.
        name: the model, for errors.

    Raises:
        CivitaiError: if the answer has another shape, or there is none.
    """
    found = [
        (_time(v.get("publishedAt")) or _time(v.get("createdAt")) or "", _whole(v.get("id"), name))
        for v in _mappings(_mapping(answer, name).get("modelVersions"))
        if (v.get("status") or "Published") == "Published"
    ]
    if not found:
        raise CivitaiError("intake.civitai_no_version", name=name)
    return max(found)[1], len(found)


def read_version(answer: Any, name: str) -> ModelVersion:
    """Read what the site states of a version.

    Args:
        answer: to `GET /api/v1/model-versions/{id}`.
        name: the version, for errors.

    Raises:
        CivitaiError: if the answer has another shape.
    """
    table = _mapping(answer, name)
    model = told if isinstance(told := table.get("model"), Mapping) else {}
    words = table.get("trainedWords")
    listed = [t for w in (words if isinstance(words, list) else ())[:MAX_WORDS] if (t := _text(w))]
    early = _time(table.get("earlyAccessEndsAt"))
    if early is None and table.get("availability") == "EarlyAccess":
        early = ""
    return ModelVersion(
        number=_whole(table.get("id"), name),
        model=_whole(table.get("modelId"), name),
        air=_text(table.get("air")),
        name=_text(table.get("name")) or "",
        model_name=_text(model.get("name")) or "",
        published=_time(table.get("publishedAt")),
        base_model=_text(table.get("baseModel")),
        trained_words=tuple(listed),
        files=tuple(_read_file(f, name) for f in _mappings(table.get("files"))),
        downloadable=(table.get("usageControl") or "Download") == "Download"
        and model.get("mode") not in ("Archived", "TakenDown"),
        early_access=early,
    )


def choose_file(version: ModelVersion, source: CivitaiSource) -> VersionFile:
    """Return the file that was named; without one the primary file, or the only one with weights in safetensors.

    Raises:
        CivitaiError: if no file is so, or several are.
    """
    files = version.files
    if not files:
        raise CivitaiError("intake.civitai_no_download", name=source.name)
    listed = [f"{f.name} ({f.kind}, fileId={f.number})" for f in files]
    listed = [*listed[:LISTED], *(["…"] if len(listed) > LISTED else [])]
    named = [f for f in files if _is_named(f, source)]
    if not named:
        raise CivitaiError("intake.civitai_no_such_file", name=source.name, files=listed)
    weights = [f for f in named if f.is_safetensors and (f.kind in WEIGHTS or source.file is not None)]
    if not weights:
        raise CivitaiError("intake.civitai_no_safetensors", name=source.name, files=listed)
    primary = [f for f in weights if f.primary]
    if len(primary) != 1 and len(weights) != 1:
        raise CivitaiError("intake.civitai_several_files", name=source.name, files=listed)
    return primary[0] if len(primary) == 1 else weights[0]


def describe_publication(version: ModelVersion, file: VersionFile, newest_of: int | None) -> Publication:
    """Return what the record of a run keeps of the version.

    Args:
        version: what the site states.
        file: the file that was chosen.
        newest_of: the number of published versions, if the newest was taken because none was named.
    """
    short = f"civitai:{version.model}@{version.number}"
    stated = re.fullmatch(rf"urn:air:[\w-]{{1,40}}:[\w-]{{1,40}}:{short}", version.air or "", re.ASCII)
    return Publication(
        air=f"{stated[0] if stated else f'urn:air:{short}'}+{file.number}",
        model_name=version.model_name,
        version_name=version.name,
        file=file.name,
        published=version.published,
        base_model=version.base_model,
        trained_words=version.trained_words,
        digests=dict(file.digests),
        newest_of=newest_of,
    )


def _is_named(file: VersionFile, source: CivitaiSource) -> bool:
    if source.file is not None:
        return file.number == source.file
    known = {**file.properties, "type": file.kind}
    return all(known.get(name) == value.lower() for name, value in source.properties)


def _read_file(table: Mapping[str, Any], name: str) -> VersionFile:
    stated, properties = table.get("hashes"), table.get("metadata")
    return VersionFile(
        number=_whole(table.get("id"), name),
        name=_file_name(table.get("name")),
        kind=(_text(table.get("type")) or "model").lower(),
        primary=table.get("primary") is True,
        digests=_digests(stated) if isinstance(stated, Mapping) else {},
        properties={k: v.lower() for k, v in properties.items() if isinstance(v, str)}
        if isinstance(properties, Mapping)
        else {},
    )


def _digests(stated: Mapping[str, Any]) -> dict[str, str]:
    texts = {kind: v.lower() for kind in DIGESTS if isinstance(v := stated.get(kind), str)}
    return {kind: v for kind, v in texts.items() if re.fullmatch(rf"[0-9a-f]{{{DIGESTS[kind]}}}", v)}


def _file_name(given: Any) -> str:
    """The last part of a name, in letters, digits and plain signs; its suffix stays."""
    name = PurePosixPath(given.replace("\\", "/")).name if isinstance(given, str) else ""
    name = re.sub(r"[^\w.+()\[\] -]", "_", name[:1000]).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    return f"{stem[:100].rstrip() or 'model'}.{suffix[:20]}" if dot else name[:100] or "model"


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CivitaiError("intake.civitai_unexpected", name=name)
    if not value.keys() & {"id", "files", "modelVersions"} and "error" in value:
        raise CivitaiNotFound("intake.civitai_not_found", name=name)
    return value


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_ID:
        raise CivitaiError("intake.civitai_unexpected", name=name)
    return value


def _time(value: Any) -> str | None:
    """A time as the site writes it, "2025-12-18T09:16:12.062Z"; None if it is none."""
    try:
        return value if isinstance(value, str) and len(value) < 40 and datetime.fromisoformat(value) else None
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    """A text from outside as one printable line; None if there is none."""
    return (single_line(value) or None) if isinstance(value, str) else None
