"""Manifest and seal: one number that changes with any byte of a bundle, and which file it was.

`result.json` is the record of a run. `manifest.json` states the SHA-256 of it and of every other file, and repeats from
the record what identifies the inputs: pictures, controls or bank, weights, commits, the library's code. It can be
rebuilt from record and files, so that an altered seal can be told from an altered manifest. `seal.txt` states the
SHA-256 of the manifest, in the words of `sha256sum -c`. What signs the manifest lies beside it, stated by neither.

A seal shows a change to those who know it from before. Whoever makes a bundle anew seals it anew: so write the seal
down, or sign it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .bundle_reader import Bundle, Fault, file_sha256, is_plain, read_small
from .record import Record, manifest_entries, read_record

FORMAT = 1
RECORD, MANIFEST, SEAL = "result.json", "manifest.json", "seal.txt"
SIGNATURE, SIGNER = "manifest.sig", "signer.pem"
ENVELOPE = (MANIFEST, SEAL, SIGNATURE, SIGNER)  # the files that no manifest states


def seal_folder(folder: Path, record: Record, names: list[str]) -> None:
    """Write the manifest of the files `names`, and its seal."""
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)}
    manifest = build_manifest(record, digests)
    (folder / MANIFEST).write_bytes(manifest)
    (folder / SEAL).write_bytes(seal_text(manifest))


def build_manifest(record: Record, digests: Mapping[str, str]) -> bytes:
    """The manifest of a record and the digests of its files."""
    manifest = {"format": FORMAT, "sha256": dict(digests), **manifest_entries(record)}
    return (json.dumps(manifest, indent=2) + "\n").encode()


def seal_text(manifest: bytes) -> bytes:
    """The seal of a manifest's bytes."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def check_seal(bundle: Bundle) -> list[Fault]:
    """Every file that is not as it was sealed, each once; none if the bundle is whole.

    Raises:
        UserError: if a newer version of the library wrote it.
    """
    faults = {f.name: f for f in bundle.faults}
    manifest, seal = read_small(bundle, MANIFEST), read_small(bundle, SEAL)
    for name, data in ((MANIFEST, manifest), (SEAL, seal)):
        if data is None:
            faults.setdefault(name, Fault(name, "is missing" if name not in bundle.sizes else "cannot be read"))
    if manifest is None:
        return list(faults.values())
    stated, number = _statements(manifest)
    if stated is None:
        faults[MANIFEST] = Fault(MANIFEST, "was changed: it is no manifest")
        return list(faults.values())
    sealed = seal is None or seal == seal_text(manifest)
    if sealed and number != FORMAT:
        raise UserError(f"the bundle has format {number}; accepted: {FORMAT}, or a version of this tool that knows it")

    for name, digest in stated.items():
        found = file_sha256(bundle, name) if name in bundle.sizes else None
        if name not in bundle.sizes:
            faults.setdefault(name, Fault(name, "is missing"))
        elif found is None:
            faults[name] = Fault(name, "was changed: it cannot be read")
        elif found != digest:
            faults[name] = Fault(name, f"was changed: its SHA-256 is {found}, the manifest states {digest:.64}")
    for name in bundle.sizes:
        if name not in stated and name not in ENVELOPE:
            faults[name] = Fault(name, "was added: the manifest does not state it")

    try:
        repeats = manifest == build_manifest(bundle_record(bundle), stated)
    except UserError as error:
        if error.code == "evidence.newer_record":
            raise
        repeats = False
        faults.setdefault(RECORD, Fault(RECORD, f"cannot be read: {error}"))
    if not sealed and repeats and not faults:
        faults[SEAL] = Fault(SEAL, "was changed: it does not state the SHA-256 of manifest.json")
    elif not sealed:
        faults[MANIFEST] = Fault(MANIFEST, "was changed: its SHA-256 is not what seal.txt states")
    elif not repeats and RECORD not in faults:
        faults[MANIFEST] = Fault(MANIFEST, "was changed: it does not repeat what result.json records")
    return list(faults.values())


def bundle_record(bundle: Bundle) -> Record:
    """The record of a bundle.

    Raises:
        UserError: if there is none, or it cannot be read.
    """
    return read_record(read_small(bundle, RECORD), bundle.label)


def _statements(manifest: bytes) -> tuple[dict[str, str] | None, Any]:
    """The digests that a manifest states, and its format; None if it is no manifest."""
    table = _parse(manifest) or {}
    stated = table.get("sha256")
    if not isinstance(stated, dict) or not all(isinstance(d, str) and is_plain(n) for n, d in stated.items()):
        return None, None
    return stated, table.get("format")


def _parse(data: bytes | None) -> dict[str, Any] | None:
    """A JSON object; None if it is none."""
    try:
        table = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) else None
