"""Manifest and seal: one number that changes with any byte of a bundle, and which file it was.

`result.json` is the record of a run. `manifest.json` states the SHA-256 of it and of every other file, and repeats from
the record what identifies the inputs: pictures, controls or bank, weights, commits, the library's code. It can be
rebuilt from record and files, so that an altered seal can be told from an altered manifest. `seal.txt` states the
SHA-256 of the manifest, in the words of `sha256sum -c`. What signs and what dates the manifest lies beside it, stated
by neither: this is the envelope.

A seal shows a change to those who know it from before. Somebody who makes another bundle can seal that one, too. So
write the seal down, or sign the bundle.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .bundle_reader import Bundle, FileProblem, file_problem, file_sha256, is_inside, read_small
from .record_format_1 import upgrade_format_1
from .record_json import to_json

if TYPE_CHECKING:
    from .record import Record

FORMAT = 1
RECORD, MANIFEST, SEAL = "result.json", "manifest.json", "seal.txt"
PLAN = "run-plan.json"  # the plan that the run followed
FACTS = "kept.json"  # of a suspect that was kept, which has no record
OLD_SIGNATURE, OLD_SIGNER = "manifest.sig", "signer.pem"  # of bundles that have one signature
SIGNATURES, STAMPS = "signatures", "stamps"  # folders of what signs and what dates the manifest
ENVELOPE = re.compile(
    rf"manifest\.json|seal\.txt|manifest\.sig|signer\.pem|{SIGNATURES}/\d\d\.(sig|pem)|{STAMPS}/\d\d\.tsr", re.ASCII
)


def is_envelope(name: str) -> bool:
    """Tell whether a file belongs to the envelope, which no manifest states."""
    return ENVELOPE.fullmatch(name) is not None


def seal_folder(folder: Path, record: object, names: list[str]) -> None:
    """Write the manifest of the files `names`, and its seal; `record` is a `Record`."""
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)}
    manifest = build_manifest(record, digests)
    (folder / MANIFEST).write_bytes(manifest)
    (folder / SEAL).write_bytes(seal_text(manifest))


def build_manifest(record: object, digests: Mapping[str, str]) -> bytes:
    """Build the manifest of a record, a `Record` or its plain data, and of the digests of its files."""
    return _manifest_bytes({"format": FORMAT, "sha256": dict(digests), **_identity(record)})


def build_plain_manifest(digests: Mapping[str, str]) -> bytes:
    """Build the manifest of files without a record: those of a suspect that was kept."""
    return _manifest_bytes({"format": FORMAT, "sha256": dict(digests)})


def seal_text(manifest: bytes) -> bytes:
    """Make the seal of a manifest's bytes."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def check_seal(bundle: Bundle, read: Callable[[Bundle], object] | None = None) -> list[FileProblem]:
    """Find every file that is not as it was sealed, each once; none if the bundle is intact.

    Args:
        bundle: the evidence.
        read: reads its record; `bundle_record`, if not given. The script that each bundle holds has another one.

    Raises:
        UserError: if a newer version of the library wrote it.
    """
    problems = {p.name: p for p in bundle.problems}
    manifest, seal = read_small(bundle, MANIFEST), read_small(bundle, SEAL)
    for name, data in ((MANIFEST, manifest), (SEAL, seal)):
        if data is None:
            what = "missing" if name not in bundle.sizes else "unreadable"
            problems.setdefault(name, file_problem(name, what))
    if manifest is None:
        return list(problems.values())
    stated, number = _statements(manifest)
    if stated is None:
        problems[MANIFEST] = file_problem(MANIFEST, "no_manifest")
        return list(problems.values())
    sealed = seal is None or seal == seal_text(manifest)
    if sealed and number != FORMAT:
        raise UserError("evidence.unknown_format", format=str(number), known=FORMAT)

    for name, digest in stated.items():
        found = file_sha256(bundle, name) if name in bundle.sizes else None
        if name not in bundle.sizes:
            problems.setdefault(name, file_problem(name, "missing"))
        elif found is None:
            problems[name] = file_problem(name, "changed_unreadable")
        elif found != digest:
            problems[name] = file_problem(name, "changed", found=found, expected=digest[:64])
    for name in bundle.sizes:
        if name not in stated and not is_envelope(name):
            problems[name] = file_problem(name, "added")

    try:
        repeats = manifest == _expected_manifest(bundle, stated, read or bundle_record)
    except UserError as error:
        if error.code == "evidence.newer_record":
            raise
        repeats = False
        problems.setdefault(RECORD, file_problem(RECORD, "damaged_record", problem=error.note))
    if not sealed and repeats and not problems:
        problems[SEAL] = file_problem(SEAL, "changed_seal")
    elif not sealed:
        problems[MANIFEST] = file_problem(MANIFEST, "unsealed_manifest")
    elif not repeats and RECORD not in problems:
        problems[MANIFEST] = file_problem(MANIFEST, "other_record")
    return list(problems.values())


def _expected_manifest(bundle: Bundle, stated: Mapping[str, str], read: Callable[[Bundle], object]) -> bytes:
    """The manifest that repeats what the bundle records."""
    if FACTS in stated and RECORD not in stated:
        return build_plain_manifest(stated)
    return build_manifest(read(bundle), stated)


def _manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=2) + "\n").encode()


def bundle_record(bundle: Bundle) -> "Record":
    """Read the record of a bundle.

    Raises:
        UserError: if there is none, or it cannot be read.
    """
    from .record import read_record  # late: it needs a newer Python than the script that each bundle holds

    return read_record(read_small(bundle, RECORD), bundle.label)


def plain_record(bundle: Bundle, newest: int) -> dict[str, Any]:
    """Read the record of a bundle as plain data, whose values are not checked against their types.

    Args:
        bundle: the evidence.
        newest: format of a record that this version reads.

    Raises:
        UserError: if there is none, or a newer version wrote it.
    """
    table = _parse(read_small(bundle, RECORD))
    if table is None:
        raise UserError("evidence.no_record", name=bundle.label)
    number = table.get("format", 1)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= newest:
        raise UserError("evidence.newer_record", name=bundle.label, format=str(number), known=newest)
    try:
        table = upgrade_format_1(table) if number == 1 else table
        _identity(table)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError("evidence.damaged_record", name=bundle.label, problem=str(error)) from error
    return table


def _identity(record: object) -> dict[str, Any]:
    """What a manifest repeats from the record: all that identifies the inputs, as the record's format named it."""
    table: Any = record if isinstance(record, Mapping) else to_json(record)
    roles = {"suspect": "finetuned"} if table["format"] == 1 else {}
    return {
        "pictures": [{"name": p["name"], "sha256": p["sha256"]} for p in table["pictures"]],
        "controls": [{"name": c["name"], "sha256": c["sha256"]} for c in table["controls"]],
        "bank": None if table["bank"] is None else table["bank"]["sha256"],
        "weights": table["models"]["sha256"],
        "commits": {f"{roles.get(role, role)} commit": sha for role, sha in table["models"]["commits"].items()},
        "code": table["code"],
    }


def _statements(manifest: bytes) -> tuple[dict[str, str] | None, Any]:
    """The digests that a manifest states, and its format; None if it is no manifest."""
    table = _parse(manifest) or {}
    stated = table.get("sha256")
    if not isinstance(stated, dict) or not all(isinstance(d, str) and is_inside(n) for n, d in stated.items()):
        return None, None
    return stated, table.get("format")


def _parse(data: bytes | None) -> dict[str, Any] | None:
    """A JSON object; None if it is none."""
    try:
        table = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) else None
