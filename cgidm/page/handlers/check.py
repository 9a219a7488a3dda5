"""What the tab *Check a zip* does: what a bundle of evidence shows by itself, as `cgidm verify` would say it.

Whoever made the zip may be hostile. It is never unpacked; what it holds is bounded before anything is computed of it;
and no byte of its reports is shown: the report on the page is made anew from its record and its pictures.
"""

import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from cgidm import UserError
from cgidm.evidence.anchors.signature import OF_SIGNER, Signatures, check_signatures
from cgidm.evidence.bundle_files import is_plain_png
from cgidm.evidence.bundle_reader import Bundle, open_bundle, read_small
from cgidm.evidence.bundle_writer import BANK
from cgidm.evidence.recompute import recompute
from cgidm.evidence.record import Record
from cgidm.evidence.record_json import to_json
from cgidm.evidence.record_of_result import image_name, image_roles, lineup_of
from cgidm.evidence.reports.report import report_blocks
from cgidm.evidence.seal import RECORD, SEAL, bundle_record, check_seal
from cgidm.evidence.typesetting.html import report_html
from cgidm.judging.lineup import judge_lineup
from cgidm.pictures.images import MAX_BYTES

from ..html.check import Checked, check_html
from ..html.views import View
from .errors import refusal
from .request import MAX_BANK
from .uploads import delete_upload

MAX_UNPACKED = 1_000_000_000  # bytes of all its files
MAX_FILES = 1_000
MAX_PICTURES, MAX_CONTROLS, MAX_SCORES = 30, 200, 2_000  # of a record that is derived once more
MAX_PIXELS = 64_000_000  # of all PNGs together: 240 pictures of 512 pixels
MAX_PNG_BYTES = 250_000_000  # of all PNGs together, which both reports hold while they are made
MAX_REPORT = 12_000_000  # bytes of a report that is shown
MAX_SHOWN, MAX_SHOWN_BYTES = 6, 1_500_000  # pictures beside their answers
PNG_HEADER = struct.Struct(">8s4x4sII")


NOT_SHOWN = (
    "that nobody sealed it anew: compare the seal with one that you know from before",
    "date, names, machine, and who made the control pictures: whoever made it states them",
    "that the recorded scores are right: a repeated run tests that",
    "the chance that the picture was used",
    "whether such a use was allowed",
)


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


def check_bundle(path: str, signer: str | None) -> dict[str, Any]:
    """Say what a zip shows as plain data, for programs; its sentences are English.

    Raises:
        UserError: if it is none, or larger than evidence can be; or if `signer` is no key's SHA-256.
    """
    if signer is not None and not re.fullmatch(r"[0-9a-fA-F:\s]{64,}", signer):
        raise UserError("evidence.no_signer", given=signer)
    found = examine(Path(path), signer)
    checked, derived = found.checked, found.checked.derived
    wrong = [str(p) for p in (*checked.problems, *checked.not_by_signer)]
    return {
        "whole": not checked.problems,
        "consistent": checked.is_consistent if not checked.problems else None,
        "seal": checked.seal,
        "signed": checked.signed,
        "signed_by_given_key": None if signer is None else checked.signed is not None and not checked.not_by_signer,
        "wrong": wrong + ([] if derived is None else [str(d) for d in (*derived.differences, *derived.problems)]),
        "not_derived": [] if derived is None else [str(gap) for gap in derived.gaps],
        "not_shown": list(NOT_SHOWN),
        "record": None if found.record is None else to_json(found.record),
    }


def count_choices(path: str, picks: str) -> dict[str, Any]:
    """Count the choices of a line-up's observer, as plain data.

    Raises:
        UserError: if the zip is not whole, has no line-up, or the choices do not fit it.
    """
    found = examine(Path(path))
    if found.record is None:
        raise UserError("page.lineup_altered", given=found.checked.name)
    lineup = lineup_of(found.record)
    if lineup is None:
        raise UserError("evidence.no_lineup", path=found.checked.name)
    chosen = [pick.strip() for pick in picks.split(",")]
    judged = judge_lineup(lineup, chosen)
    rounds = zip(chosen, lineup.rounds, judged.right, strict=True)
    return {
        "hits": judged.hits,
        "rounds": [{"pick": pick, "answer": r.letter, "right": right} for pick, r, right in rounds],
        "p_value": judged.p_value,
        "reason": str(judged.reason),
    }


def examine(path: Path, signer: str | None = None) -> Findings:
    """Check a zip.

    Args:
        path: the zip.
        signer: the SHA-256 of the key that it must be signed with; None: any, or none.

    Raises:
        UserError: if it is no zip of evidence, larger than evidence can be, or of a newer version.
    """
    if path.is_dir():
        raise UserError("page.check_no_zip", given=path.name)
    try:
        with open_bundle(path) as bundle:
            return _examine(bundle, path.name, signer)
    except UserError as error:
        if error.code in ("evidence.no_zip", "evidence.no_bundle"):
            raise UserError("page.check_no_zip", given=path.name) from error
        raise


def _examine(bundle: Bundle, name: str, signer: str | None) -> Findings:
    unpacked = sum(bundle.sizes.values())
    if unpacked > MAX_UNPACKED or len(bundle.sizes) > MAX_FILES:
        limits = {"most": MAX_UNPACKED, "most_files": MAX_FILES}
        raise UserError("page.check_too_large", given=name, bytes=unpacked, files=len(bundle.sizes), **limits)
    problems = check_seal(bundle)
    signatures = _signatures(bundle, signer)
    not_by_signer = tuple(p for p in signatures.problems if p.note.code in OF_SIGNER)
    known = {p.name for p in problems}
    problems += [p for p in signatures.problems if p.name not in known and p not in not_by_signer]
    if problems:
        return Findings(Checked(name=name, files=len(bundle.sizes), problems=tuple(problems)))
    record = bundle_record(bundle)
    seal = (read_small(bundle, SEAL) or b"")[:64].decode()
    derived = recompute(bundle, record) if _is_bounded(bundle, record) else None
    signed = signatures.named or next(iter(signatures.keys), None)
    of_signer = {"signed": signed, "not_by_signer": not_by_signer}
    images = _images(bundle, record) if derived is not None else ()
    checked = Checked(name=name, files=len(bundle.sizes), seal=seal, derived=derived, images=images, **of_signer)
    return Findings(checked, record, _report(bundle, record) if derived is not None else None)


def _signatures(bundle: Bundle, signer: str | None) -> Signatures:
    """The keys that signed it; where `cryptography` is missing, a signature that nobody asks for is not looked at."""
    try:
        return check_signatures(bundle, signer)
    except UserError:
        if signer is not None:
            raise
        return Signatures()


def _is_bounded(bundle: Bundle, record: Record) -> bool:
    """Whether no more is to be computed of it than of a run of this page."""
    pixels, weight = 0, 0
    if bundle.sizes.get(BANK, 0) > MAX_BANK:
        return False
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
        pixels, weight = pixels + width * height, weight + size
    held = (len(record.pictures), MAX_PICTURES), (len(record.controls), MAX_CONTROLS)
    scores = (len(record.control_scores), MAX_SCORES), (0 if record.bank is None else record.bank.nulls, MAX_SCORES)
    return pixels <= MAX_PIXELS and weight <= MAX_PNG_BYTES and all(n <= most for n, most in (*held, *scores))


def _images(bundle: Bundle, record: Record) -> tuple[bytes, ...]:
    """The first pictures, as their PNGs: what is no plain PNG is left out, and so is a large one."""
    names = [image_name(number, "original") for number in range(min(MAX_SHOWN, len(record.pictures)))]
    found = [read_small(bundle, name, MAX_SHOWN_BYTES) or b"" for name in names]
    return tuple(png if is_plain_png(png) else b"" for png in found)


def _report(bundle: Bundle, record: Record) -> str | None:
    """The report, made of the record and the pictures: every text in it is escaped, whatever the zip's own says."""

    def read(name: str) -> bytes:
        return read_small(bundle, name, MAX_BYTES) or b""

    names = [image_name(i, role) for i in range(len(record.pictures)) for role in image_roles(record)]
    if sum(bundle.sizes.get(name, 0) for name in names) > MAX_REPORT:
        return None
    try:
        blocks = report_blocks(record, hashlib.sha256(read_small(bundle, RECORD) or b"").hexdigest())
        report = report_html(blocks, read, record.language)
    except Exception:  # of a record that no run writes, whose differences are named
        return None
    return report if len(report) <= MAX_REPORT else None


def _seal_update(seal: str | None) -> Any:
    return gr.update(value=seal or "", visible=seal is not None)
