"""A suspect kept in a sealed zip of its own: its weights, and what was published of it, when it was retrieved.

Whoever published it may take it away. `kept.json` holds the facts, `page/` what the Hub or Civitai says of it, `files/`
the weights. Manifest, seal, signatures and time stamps are those of evidence, and `verify` reads them all.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import UserError
from ...intake.civitai.listing import CivitaiListing
from ...intake.hub import HubListing
from ...intake.layout import Checkpoint
from ..bundle_reader import CHUNK, Bundle, read_small
from ..record import AnchorRecord
from ..record_json import from_json, to_json
from ..record_of_result import anchor_of, without_home
from ..seal import FACTS, MANIFEST, SEAL, build_plain_manifest, seal_text
from .envelope import pack_files

FORMAT = 1
FILES, PAGE = "files", "page"
MAX_KEPT = 1_900_000_000  # bytes of weights; a LoRA has 300,000,000 at most, as a rule


@dataclass(frozen=True, kw_only=True)
class KeptSuspect:
    """The facts of a suspect that was kept."""

    format: int
    name: str  # as it was named
    kind: str  # adapter, pipeline, ...
    retrieved: str  # when it was kept; ISO 8601, UTC
    version: str  # of this tool
    anchor: AnchorRecord | None  # None: a file that lay here
    sha256: dict[str, str]  # its file -> SHA-256, as it was read


def keep_suspect(checkpoint: Checkpoint, out: Path) -> tuple[KeptSuspect, str]:
    """Write the zip, and return its facts and its seal; the weights are downloaded if need be.

    Args:
        checkpoint: the suspect.
        out: the zip, which is replaced as a whole.

    Raises:
        UserError: if it is larger than what is kept, or cannot be had.
    """
    listing = checkpoint.listing
    names = [*checkpoint.weights, *checkpoint.extras]
    if (size := sum(listing.sizes[n] for n in names)) > MAX_KEPT:
        raise UserError("evidence.kept_too_large", name=checkpoint.name, bytes=size, most=MAX_KEPT)
    folder = listing.fetch(names)
    files = {f"{FILES}/{name}": folder / name for name in names}
    digests = {name: _file_sha256(path) for name, path in files.items()}
    kept = KeptSuspect(
        format=FORMAT,
        name=without_home(checkpoint.name, Path.home()),
        kind=checkpoint.kind,
        retrieved=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        anchor=anchor_of(checkpoint),
        sha256={name.removeprefix(f"{FILES}/"): digest for name, digest in digests.items()},
    )
    written = {FACTS: _json(to_json(kept)), **dict(_page(checkpoint))}
    digests |= {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
    manifest = build_plain_manifest(dict(sorted(digests.items())))
    written |= {MANIFEST: manifest, SEAL: seal_text(manifest)}

    def copy(name: str, write: Callable[[bytes], object]) -> None:
        if name in written:
            write(written[name])
            return
        with files[name].open("rb") as source:
            while piece := source.read(CHUNK):
                write(piece)

    pack_files(out, [*sorted(digests), MANIFEST, SEAL], copy)
    return kept, hashlib.sha256(manifest).hexdigest()


def read_kept(bundle: Bundle) -> KeptSuspect:
    """Read the facts of a suspect that was kept.

    Raises:
        UserError: if they cannot be read, or are not those of the files beside them.
    """
    try:
        table = json.loads(read_small(bundle, FACTS) or b"")
        if table.get("format") != FORMAT:
            raise UserError("evidence.kept_format", bundle=bundle.label, format=str(table.get("format")), known=FORMAT)
        kept = from_json(KeptSuspect, table, "kept")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError("evidence.damaged_kept", bundle=bundle.label, problem=str(error)) from error
    stated = json.loads(read_small(bundle, MANIFEST) or b"{}").get("sha256", {})
    held = {n.removeprefix(f"{FILES}/"): d for n, d in stated.items() if n.startswith(f"{FILES}/")}
    others = [n for n in stated if n != FACTS and not n.startswith((f"{FILES}/", f"{PAGE}/"))]
    if held != kept.sha256 or others:
        problem = "its files are not those of kept.json"
        raise UserError("evidence.damaged_kept", bundle=bundle.label, problem=problem)
    return kept


def _page(checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
    """What was published beside the weights: the facts as this tool read them, the card, Civitai's description."""
    listing = checkpoint.listing
    if listing.about is not None:
        yield f"{PAGE}/facts.json", _json(to_json(listing.about))
    if isinstance(listing, CivitaiListing):
        yield f"{PAGE}/civitai.json", _json(dict(listing.description))
    elif isinstance(listing, HubListing) and "README.md" in listing.sizes:
        yield f"{PAGE}/README.md", (listing.fetch(["README.md"]) / "README.md").read_bytes()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
