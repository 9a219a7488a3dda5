"""What the tab *Check a zip* does: what a bundle of evidence shows by itself, as `cgidm verify` would say it.

Whoever made the zip may be hostile. It is never unpacked; what it holds is bounded before anything is computed of it;
and no byte of its reports is shown: the report on the page is made anew from its record and its pictures.
"""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from cgidm import UserError
from cgidm.evidence.bundle_reader import Bundle, FileProblem, open_bundle, read_small
from cgidm.evidence.recompute import recompute
from cgidm.evidence.record import Record
from cgidm.evidence.report import report_blocks
from cgidm.evidence.report_html import report_html
from cgidm.evidence.seal import RECORD, SEAL, bundle_record, check_seal
from cgidm.evidence.signature import check_signature
from cgidm.pictures.images import MAX_BYTES

from ..html.check import Checked, check_html
from ..html.views import View
from .errors import refusal
from .uploads import delete_upload

MAX_UNPACKED = 1_000_000_000  # bytes of all its files
MAX_FILES = 1_000
MAX_PICTURES, MAX_CONTROLS, MAX_SCORES = 30, 200, 2_000  # of a record that is derived once more
MAX_PIXELS = 64_000_000  # of all PNGs together: 240 pictures of 512 pixels
MAX_REPORT = 12_000_000  # bytes of a report that is shown
PNG_HEADER = struct.Struct(">8s4x4sII")


@dataclass(frozen=True)
class Findings:
    """What a check of a bundle has found."""

    checked: Checked
    record: Record | None = None  # None: not whole, or not readable
    report: str | None = None  # made anew; None: it is too large to be shown, or cannot be made


def check_zip(path: str | None, language: str) -> View:
    """Show what a zip of evidence shows by itself; nothing, if none was given.

    Raises:
        gr.Error: with one sentence, if it is none or larger than evidence can be.
    """
    if not path:
        return {"checked": "", "seal": gr.update(value="", visible=False)}
    try:
        found = examine(Path(path))
    except UserError as error:
        raise refusal(error, language) from error
    finally:
        delete_upload(path)
    seal = found.checked.seal
    return {"checked": check_html(found.checked, found.record, found.report, language), "seal": _seal_update(seal)}


def examine(path: Path) -> Findings:
    """Check a zip.

    Raises:
        UserError: if it is no zip of evidence, larger than evidence can be, or of a newer version.
    """
    if path.is_dir():
        raise UserError("page.check_no_zip", given=path.name)
    try:
        with open_bundle(path) as bundle:
            return _examine(bundle, path.name)
    except UserError as error:
        if error.code in ("evidence.no_zip", "evidence.no_bundle"):
            raise UserError("page.check_no_zip", given=path.name) from error
        raise


def _examine(bundle: Bundle, name: str) -> Findings:
    unpacked = sum(bundle.sizes.values())
    if unpacked > MAX_UNPACKED or len(bundle.sizes) > MAX_FILES:
        limits = {"most": MAX_UNPACKED, "most_files": MAX_FILES}
        raise UserError("page.check_too_large", given=name, bytes=unpacked, files=len(bundle.sizes), **limits)
    problems = check_seal(bundle)
    signed, of_signature = _signature(bundle)
    known = {p.name for p in problems}
    problems += [p for p in of_signature if p.name not in known]
    if problems:
        return Findings(Checked(name=name, files=len(bundle.sizes), problems=tuple(problems)))
    record = bundle_record(bundle)
    seal = (read_small(bundle, SEAL) or b"")[:64].decode()
    derived = recompute(bundle, record) if _is_bounded(bundle, record) else None
    checked = Checked(name=name, files=len(bundle.sizes), seal=seal, signed=signed, derived=derived)
    return Findings(checked, record, _report(bundle, record) if derived is not None else None)


def _signature(bundle: Bundle) -> tuple[str | None, list[FileProblem]]:
    """The key that signed it; where `cryptography` is missing, a signature is not looked at."""
    try:
        return check_signature(bundle)
    except UserError:
        return None, []


def _is_bounded(bundle: Bundle, record: Record) -> bool:
    """Whether no more is to be computed of it than of a run of this page."""
    pixels = 0
    for name, size in bundle.sizes.items():
        if not name.endswith(".png"):
            continue
        if size > MAX_BYTES:
            return False
        with bundle.open(name) as file:
            head = file.read(PNG_HEADER.size)
        if len(head) < PNG_HEADER.size:
            continue  # no picture: that is said
        _, _, width, height = PNG_HEADER.unpack(head)
        pixels += width * height
    held = (len(record.pictures), MAX_PICTURES), (len(record.controls), MAX_CONTROLS)
    scores = (len(record.control_scores), MAX_SCORES), (0 if record.bank is None else record.bank.nulls, MAX_SCORES)
    return pixels <= MAX_PIXELS and all(n <= most for n, most in (*held, *scores))


def _report(bundle: Bundle, record: Record) -> str | None:
    """The report, made of the record and the pictures: every text in it is escaped, whatever the zip's own says."""

    def read(name: str) -> bytes:
        return read_small(bundle, name, MAX_BYTES) or b""

    try:
        blocks = report_blocks(record, hashlib.sha256(read_small(bundle, RECORD) or b"").hexdigest())
        report = report_html(blocks, read)
    except Exception:  # of a record that no run writes, whose differences are named
        return None
    return report if len(report) <= MAX_REPORT else None


def _seal_update(seal: str | None) -> Any:
    return gr.update(value=seal or "", visible=seal is not None)
