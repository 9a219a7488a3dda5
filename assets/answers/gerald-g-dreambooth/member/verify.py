#!/usr/bin/env python3
"""Check a bundle of evidence with Python alone (3.9 or newer): seal, SHA-256 and names of its files.

    python3 -I verify.py                 the bundle in whose folder this file lies
    python3 -I verify.py evidence.zip    a zip, which is not unpacked

It is made of modules of cgidm 0.2.0, whose text follows unchanged. Whoever made a bundle could have changed this
file, too: take it from somebody whom you trust, or compare its SHA-256 with theirs.
"""

import __future__

import importlib.abc
import importlib.util
import sys
from pathlib import Path

SENTENCES = {
    "evidence.damaged_kept": "The facts in {bundle} cannot be read ({problem}). Use the zip as `cgidm keep` wrote it.",
    "evidence.damaged_record": "The record of {name} cannot be read ({problem}). Use the bundle as `cgidm authenticate` wrote it.",
    "evidence.date_after_stamp": "Its own date, {date}, is later than its time stamp, {stamp}. So its date is not right, or the clock of its computer was not.",
    "evidence.export.exists": "{path} is there already. Give a new file with --out.",
    "evidence.export.no_evidence": "There is no “{title}” for an answer of “{outcome}”: it would accuse somebody without evidence. The page for a lawyer can be had for every answer.",
    "evidence.export.no_safetensors": "expected a safetensors file of the suspect, but {path} is none.",
    "evidence.export.other_file": "expected one of the {files} recorded files of the suspect, got a file with the SHA-256 {given}. Give the file that was tested.",
    "evidence.export.title.civitai": "Text for a report to Civitai",
    "evidence.export.title.dmca": "Draft of a takedown notice (DMCA)",
    "evidence.export.title.hub": "Text for a report to the Hub",
    "evidence.export.title.lawyer": "Page for a lawyer",
    "evidence.export.unreadable": "{path} cannot be read ({problem}). Give the suspect's file.",
    "evidence.full_envelope": "expected a bundle with at most {most} signatures and {most} time stamps, but {bundle} has as many already.",
    "evidence.gap.no_bank_numbers": "It does not hold the numbers of its bank, so its p-values and answers were not derived again. Bundles of today hold them.",
    "evidence.gap.no_controls": "It does not hold its control pictures, so what depends on them was not derived again: copies among them, their shapes, the line-up.",
    "evidence.gap.old_rules": "Its record has format {format}, which other rules judged: its p-values and answers were not derived again, nor its reports.",
    "evidence.gap.older_format": "Its record has format {format}. Bundles of today also say of which public model the base is, where models came from, which plan was followed and how often. An older version wrote this record, or somebody left that out.",
    "evidence.gap.older_reports": "Its record has format {format}: these files are not what this version makes of it, since an older version wrote them, or somebody else ({files}).",
    "evidence.gap.stated_flags": "Its record has format {format}, which does not say what its flags rest on: they are taken as stated.",
    "evidence.gap.stated_power": "Its record has format {format}. How many used pictures would be found is taken as it is stated: an older version looked it up otherwise.",
    "evidence.kept_format": "expected kept.json of format {known}, but {bundle} has format {format}. Use a newer version of cgidm.",
    "evidence.kept_is_no_run": "expected a bundle of a run for --rerun or --originals, but {bundle} holds a suspect that was kept. Leave both out.",
    "evidence.kept_too_large": "expected a suspect of at most {most:,} bytes, but {name} has {bytes:,}. Keep its files yourself; the record of a run states their SHA-256.",
    "evidence.long_statement": "expected a statement of at most {most} characters, got {given}. Shorten it: --controls-statement",
    "evidence.many_files": "expected a bundle of at most {most:,} files, but {bundle} has more. Use the folder or zip that `cgidm authenticate` wrote.",
    "evidence.many_originals": "expected a folder of at most {most:,} files, but {path} has more. Give the folder of the original pictures alone.",
    "evidence.missing_controls": "expected the {recorded} recorded control pictures. Missing in {folder}: {missing}, first {first} (SHA-256 {sha256}). Give the files as they were.",
    "evidence.missing_picture": "expected an RGB PNG of {expected_width}x{expected_height} pixels, but {file} is missing in the bundle, or cannot be read. Use the bundle as `cgidm authenticate` wrote it.",
    "evidence.missing_weights": "expected the weights of the bundle, {files} files. Missing: {missing}, first {first}. Give base and suspect with the recorded SHA-256.",
    "evidence.model_not_found": "The {role} cannot be opened where the bundle says it was ({problem}). Say where it is now: {option}",
    "evidence.models_swapped": "Base and suspect are the recorded ones in another order. Give each in its own option.",
    "evidence.more_weights": "expected the weights of the bundle, {files} files, got others too, first {first}. Give base and suspect with the recorded SHA-256.",
    "evidence.newer_record": "The record of {name} has format {format}; this version reads formats 1 to {known}. Use a newer version of cgidm.",
    "evidence.no_bank": "The run was judged by the bank {bank} (SHA-256 {sha256}). Give its folder: --bank FOLDER",
    "evidence.no_bundle": "The bundle {path} does not exist. Use the folder or zip that `cgidm authenticate` wrote.",
    "evidence.no_certificates": "expected a PEM file of certificates, but {path} cannot be read ({problem}). The authority publishes its certificates.",
    "evidence.no_controls": "The bundle does not hold its control pictures. Give their folder: --controls FOLDER",
    "evidence.no_cryptography": "Signatures need the package cryptography, which is not installed. Run: pip install cryptography",
    "evidence.no_lineup": "Expected a bundle with a line-up, got {path}, which has none. Make one: cgidm authenticate --lineup 20 ...",
    "evidence.no_originals": "expected a folder of original picture files, got {path}. Give one: --originals FOLDER",
    "evidence.no_plan": "The plan {path} cannot be read ({problem}). Give the file that `cgidm plan` wrote.",
    "evidence.no_private_key": "expected a private Ed25519 key without a password, in a PEM file, but {path} is none. `openssl genpkey -algorithm ed25519` makes one.",
    "evidence.no_public_key": "expected a public Ed25519 key in a PEM file, but {path} is none. `openssl pkey -in key.pem -pubout` makes one of a private key.",
    "evidence.no_record": "{name} holds no record (result.json) that can be read. Use the bundle as `cgidm authenticate` wrote it.",
    "evidence.no_rfc3161": "Time stamps need the package rfc3161-client, which is not installed. Run: pip install \"cgidm[stamp]\"",
    "evidence.no_signer": "expected the SHA-256 of a public Ed25519 key (64 hex digits) or its PEM file, got {given}. `openssl pkey -pubin -in public.pem -outform DER | sha256sum` makes one.",
    "evidence.no_stamp_answer": "expected a time stamp, got an answer that is none ({problem}). The bundle stays as it is. Try another authority.",
    "evidence.no_zip": "expected a bundle of evidence, but {path} is no zip that can be read ({problem}). Use the folder or zip that `cgidm authenticate` wrote.",
    "evidence.not_requested": "It was not requested.",
    "evidence.not_whole": "expected a bundle that is as it was sealed, but in {bundle} {files} files are not, first {first}. Sign or stamp the bundle as it was written.",
    "evidence.number_of_controls": "expected the {expected} recorded control pictures, but {folder} holds {given}. Give the folder as it was.",
    "evidence.number_of_others": "expected the {expected} adapters that were on both sides, got {given}. Give each with --also, in the recorded order.",
    "evidence.original.missing": "is not there: no file has its name, or its SHA-256 {expected}",
    "evidence.original.other_file": "is another file: its SHA-256 is {given}, recorded is {expected}",
    "evidence.original.other_pixels": "is the recorded file, but does not decode to the pixels that the bundle holds: those are of something else, or another version of a library decoded them",
    "evidence.original.same": "is the recorded file, and decodes to the recorded pixels",
    "evidence.original.unreadable": "is the recorded file, but cannot be decoded here ({problem})",
    "evidence.other_bank": "expected the bank {bank} (SHA-256 {expected}), but {folder} has the SHA-256 {given}. Give the recorded bank: --bank FOLDER",
    "evidence.other_frame": "{name}: the record states another frame than its own framing gives a picture of that size. Use the bundle as `cgidm authenticate` wrote it.",
    "evidence.other_number_of_controls": "The record holds {scores} control scores but {controls} controls. Use the bundle as `cgidm authenticate` wrote it.",
    "evidence.other_picture": "expected an RGB PNG of {expected_width}x{expected_height} pixels, but {file} is {width}x{height} {mode}. Use the bundle as `cgidm authenticate` wrote it.",
    "evidence.other_unrelated": "expected the recorded unrelated model (SHA-256 {expected}), got {model}. Give the recorded one: --unrelated",
    "evidence.other_weights": "expected the recorded weights (SHA-256 {expected}), got {model}. Give the recorded file.",
    "evidence.problem.added": "was added: the manifest does not list it",
    "evidence.problem.changed": "was changed: its SHA-256 is {found}, the manifest states {expected}",
    "evidence.problem.changed_seal": "was changed: it does not state the SHA-256 of manifest.json",
    "evidence.problem.changed_signer": "was changed: it is no public Ed25519 key as it was written",
    "evidence.problem.changed_unreadable": "was changed: it cannot be read",
    "evidence.problem.damaged_record": "cannot be read. {problem}",
    "evidence.problem.duplicate": "occurs more than once in the zip, so nobody can say which one counts",
    "evidence.problem.encrypted": "is encrypted",
    "evidence.problem.folder": "is an entry of a folder: a run writes files alone",
    "evidence.problem.link": "is a link or a device, not a file of its own",
    "evidence.problem.missing": "is missing",
    "evidence.problem.more_than_a_picture": "holds more than pixels: a run writes no such PNG",
    "evidence.problem.no_manifest": "was changed: it is no manifest",
    "evidence.problem.not_of_a_run": "was added: no run with this record writes it",
    "evidence.problem.not_of_record": "is not what this version makes of result.json and the pictures",
    "evidence.problem.other_panel": "is not {file}, the picture that the key of the line-up puts there",
    "evidence.problem.other_record": "was changed: it does not repeat what result.json records",
    "evidence.problem.other_signer": "is another key: {found}, not {expected}, the key that was given",
    "evidence.problem.outside": "leads outside of the bundle",
    "evidence.problem.same_name": "is called as {other} is, but for how its letters are written: some systems hold one of the two",
    "evidence.problem.signature": "does not sign this manifest.json: one of the two was changed",
    "evidence.problem.signature_or_signer": "does not sign this manifest.json by {key}: one of the three was changed",
    "evidence.problem.signer_or_signature": "was changed, or {signature} or manifest.json was",
    "evidence.problem.stamp_changed": "was changed: it bears the name of {authority} and the time {time}, but no signature of that authority",
    "evidence.problem.stamp_expired": "is a time stamp by {authority} at {time}, when its certificate, or one above it, was not valid",
    "evidence.problem.stamp_other_authority": "is a time stamp by {authority} at {time}, whose certificate none of the given certificates vouches for",
    "evidence.problem.stamp_other_manifest": "is a time stamp by {authority} of another manifest.json, or this one was changed after it was stamped",
    "evidence.problem.stamp_purpose": "is a time stamp by {authority} at {time}, whose certificate is not one for time stamps",
    "evidence.problem.stamp_refused": "is the answer of an authority that refused to stamp",
    "evidence.problem.stamp_unreadable": "is no time stamp that can be read: it was changed, or never was one",
    "evidence.problem.unreadable": "cannot be read",
    "evidence.problem.unrenderable": "cannot be made from result.json and the pictures ({problem})",
    "evidence.problem.unsealed_manifest": "was changed: its SHA-256 is not the one in seal.txt",
    "evidence.problem.unsigned": "is missing: the bundle is not signed",
    "evidence.problem.unstamped": "is missing: the bundle has no time stamp",
    "evidence.problem.zip_entry": "its entry in the zip has another {field} than a run writes. Unpack the zip and verify the folder",
    "evidence.problem.zip_gap": "has bytes before, between or across its files: {file} begins at byte {found}, expected {expected}",
    "evidence.problem.zip_rest": "holds something behind its files: it has {found} bytes, expected {expected}",
    "evidence.published.changed": "Changed: {place} still states the recorded SHA-256 for {version}, but its newest {file} is another file, or gone.",
    "evidence.published.contradicted": "CONTRADICTED: {place} states the SHA-256 {stated} for {file} of {version}, recorded is {recorded}.",
    "evidence.published.gone": "Gone: {place}, {version}. {problem}",
    "evidence.published.no_digest": "Gone: {place} states no SHA-256 for the recorded files of {version}.",
    "evidence.published.refused": "Not compared: {place} does not tell. {problem}",
    "evidence.published.same": "The same: {place} states the recorded SHA-256 for {version}, and for its newest files ({files} compared).",
    "evidence.published.unanchored": "A file that was handed over: there is no place to compare it with.",
    "evidence.published.unreachable": "Not compared: {place} cannot be reached.",
    "evidence.retrain.count": "expected --retrain with a number of models from 1 on, got {given}.",
    "evidence.retrain.no_bank": "expected a bundle that was judged by a bank of null models, but {bundle} was not. Leave --retrain out.",
    "evidence.retrain.no_pictures": "The bundle does not hold the pictures of its bank. Whoever made the bank must hand over all {pictures}, and {besides}; their SHA-256 stand in its bank.json. Give their folders with --bank-pictures.",
    "evidence.stamp_not_ours": "The authority answered with a time stamp of something else. The bundle stays as it is. Try another authority.",
    "evidence.stamp_refused": "The authority refused to stamp ({said}). The bundle stays as it is. Try another authority.",
    "evidence.stamp_server": "expected the address of a time-stamp authority (http:// or https://), got {given}.",
    "evidence.stamp_status": "{server} answered with the status {status}, not with a time stamp. Check the address: it is that of an RFC 3161 service.",
    "evidence.stamp_unreachable": "{server} did not answer ({problem}). The bundle stays as it is. Try again later, or another authority.",
    "evidence.statement_of_nothing": "{table} names {name}, but no control picture is called so. Name files as they are called in its folder.",
    "evidence.statement_table": "expected a table with the columns {columns} (name first, UTF-8), but {path} has {given}.",
    "evidence.statement_twice": "expected each picture once, but {path} names {name} twice.",
    "evidence.stopped": "The run of this bundle was stopped before its end, so it cannot be repeated. Use a bundle of a run that came to its end.",
    "evidence.suspects.correction": "Asking {count} suspects gives {count} chances of a wrong answer. So each p-value was corrected for their number (Holm). If none of them was trained on the picture, a suspect is named by mistake in at most {level:.0%} of such questions. This holds for the suspects named here. Whoever asks about others, too, and leaves them out, has asked more often.",
    "evidence.suspects.damaged_summary": "{name} is no summary of several suspects, or it is damaged: {problem}. Use the folder as `cgidm authenticate` wrote it.",
    "evidence.suspects.first_alone": "With {references} reference scores and {count} suspects, no suspect but the one that is tested first can be named, unless that one is named, too. If another one is in question, ask about it alone.",
    "evidence.suspects.how_stack": "Several LoRAs are used together. Each was judged by itself, at its scale: the base, against the base and this one. So no LoRA can hide that another one knows the picture.",
    "evidence.suspects.how_versions": "Several versions of a model, or epochs of one training, were judged, each by itself against the base.",
    "evidence.suspects.named_stack": "Of the {count} LoRAs of the stack, these know the picture: {names}. The smallest p-value is {p:.2g}, corrected for their number.",
    "evidence.suspects.named_versions": "Of the {count} suspects, these know the picture: {names}. The smallest p-value is {p:.2g}, corrected for their number.",
    "evidence.suspects.none_stack": "No LoRA of the {count} of this stack shows that it was trained on the picture.",
    "evidence.suspects.none_versions": "None of the {count} suspects shows that it was trained on the picture.",
    "evidence.suspects.not_common": "{folder}: the run differs from that of the first suspect in more than the suspect ({what}). Expected runs with the same pictures, base, prompt and settings.",
    "evidence.suspects.only_one": "--several {given} is for several suspects, and one was given. Give --suspect once for each.",
    "evidence.suspects.open_stack": "None of the {count} LoRAs of the stack can be named. The smallest p-value, corrected for their number, is {p:.2g}, of {first}: that is too large, or silence says too little.",
    "evidence.suspects.open_versions": "None of the {count} suspects can be named. The smallest p-value, corrected for their number, is {p:.2g}, of {first}: that is too large, or silence says too little.",
    "evidence.suspects.ordered": "One suspect is tested first: the one under which the mean contrast of the picture and its mirror image is largest. It has {share:.0%} of the level, the others share the rest (Holm's procedure with weights). That mean does not change when picture and mirror image change places. So it does not tell the sign of an unused picture's score. That the level holds was counted on unused pictures; it is not derived.",
    "evidence.suspects.out_of_reach": "With so few reference scores and {count} suspects no corrected p-value can be below {least:.2g}. Ask about fewer suspects, or give more control pictures.",
    "evidence.suspects.several_how": "{count} suspects were given. Say how they belong together: --several stack (LoRAs that are used together), or --several versions (each by itself).",
    "evidence.suspects.stack_of_adapters": "A stack is made of LoRAs or other adapters, and {name} is a {kind}. Judge it by itself, or with --several versions.",
    "evidence.suspects.too_many": "expected at most {most} suspects, got {count}. Ask about fewer: the more are asked, the less each answer can say.",
    "evidence.suspects.unknown_stack": "None of the {count} LoRAs of the stack could be tested. The bundle of each says why.",
    "evidence.suspects.unknown_versions": "None of the {count} suspects could be tested. The bundle of each says why.",
    "evidence.text": "{text}",
    "evidence.text.raised_if": "{raised_if}",
    "evidence.threads": "expected 1 to {most} threads, got {given}. Give another number: --threads",
    "evidence.too_large": "expected a bundle of at most {most:,} bytes unpacked, but {bundle} has {given:,}. Use the folder or zip that `cgidm authenticate` wrote.",
    "evidence.unknown_format": "expected a manifest of format {known}, got format {format}. Use a newer version of cgidm.",
    "evidence.unreadable_key": "expected an Ed25519 key in a PEM file, but {path} cannot be read ({problem}). `openssl genpkey -algorithm ed25519` makes one.",
    "evidence.unseeded": "Preset {preset} draws without a seed, so its run cannot be repeated. Use a bundle of another preset.",
    "evidence.unusable_framing": "expected a framing whose pictures the models can take, but the record states the rule {rule} with settings that no run uses. Use the bundle as `cgidm authenticate` wrote it."
}
SOURCES = {}
SOURCES['cgidm'] = r''''''
SOURCES['cgidm.errors'] = r'''"""Errors that a user can mend. Every other exception is a bug."""

from typing import Any

from .messages import Note


class UserError(ValueError):
    """Something that was given cannot be used.

    Attributes:
        note: what is wrong, as a code and its parameters; `code` and `params` are its parts.

    The message says what was given, what is accepted, and what to do: "expected 1 to 5, got 7". It is the sentence of
    `code` in `cgidm/messages/en/`; another language renders the same code. Catch the error and compare `code`, never
    the sentence.
    """

    def __init__(self, code: str, **params: Any) -> None:
        self.note = Note(code, params)
        super().__init__(str(self.note))

    @property
    def code(self) -> str:
        """What went wrong, as a dotted name: "intake.empty_file"."""
        return self.note.code

    @property
    def params(self) -> dict[str, Any]:
        """What the sentence of the code names: the given value, what is accepted."""
        return dict(self.note.params)

    def __reduce__(self) -> tuple[Any, ...]:  # with its parameters, across processes
        return _restore, (type(self), self.code, self.params)


def _restore(kind: type[UserError], code: str, params: dict[str, Any]) -> UserError:
    return kind(code, **params)
'''
SOURCES['cgidm.evidence'] = r'''"""A result becomes files, and files become a check: record, reports, seal, signature, verification, repeated runs."""
'''
SOURCES['cgidm.evidence.bundle_reader'] = r'''"""A bundle of evidence as somebody hands it over, a folder or a zip: its files are read where they lie, never unpacked.

Whoever made it may be hostile. A name that leads outside, a link, a file that occurs twice and a file that cannot be
read are problems of that file. A zip that is none, or that would unpack to absurd sizes, is refused.
"""

import hashlib
import lzma
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from ..errors import UserError
from ..messages import Note, note
from ..messages.text import single_line

MAX_FILES = 10_000
MAX_TOTAL = 8_000_000_000  # bytes, unpacked: a thousand control pictures of 1024 pixels have a quarter of it
MAX_TEXT = 64_000_000  # bytes of a file that is read as a whole
CHUNK = 1 << 20
ARCHIVE = "the zip"  # in place of a file's name
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a zip, so that equal evidence gives equal bytes
FIRST_DAY = (0, 33)  # the same, as time and date of a local header
# of a file in a zip: signature, version, system, flags, method, time, date, CRC, two sizes, lengths of name and extra
LOCAL_HEADER = struct.Struct("<4s2B4H3I2H")
# what reading a damaged, encrypted or otherwise strange member of a zip raises
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


@dataclass(frozen=True)
class FileProblem:
    """What is wrong with one file of a bundle."""

    name: str
    note: Note

    def __str__(self) -> str:
        return f"{single_line(self.name)}: {self.note}"


def file_problem(name: str, what: str, **params: Any) -> FileProblem:
    """Make the problem of a file; its sentence stands under `evidence.problem.WHAT`."""
    return FileProblem(name, note(f"evidence.problem.{what}", **params))


@runtime_checkable
class Bundle(Protocol):
    """Files by their names, as POSIX paths, with the problems that show before any is read."""

    @property
    def label(self) -> str:
        """How a sentence calls it: its path."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each file, without the files that have a problem."""
        ...

    @property
    def problems(self) -> tuple[FileProblem, ...]:
        """The problems that show before any file is read."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for reading."""
        ...


@dataclass(frozen=True)
class FolderBundle:
    """A bundle in a folder."""

    folder: Path
    sizes: Mapping[str, int]
    problems: tuple[FileProblem, ...]

    @property
    def label(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for reading."""
        return (self.folder / name).open("rb")


@dataclass(frozen=True)
class ZipBundle:
    """A bundle in a zip."""

    path: Path
    file: zipfile.ZipFile
    sizes: Mapping[str, int]
    problems: tuple[FileProblem, ...]

    @property
    def label(self) -> str:
        """The path of the zip."""
        return str(self.path)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a member of the zip for reading."""
        return self.file.open(name)


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a folder or a zip, and read its names and sizes.

    Raises:
        UserError: if it is neither, or larger than evidence can be.
    """
    if path.is_dir():
        yield _open_folder(path)
        return
    if not path.exists():
        raise UserError("evidence.no_bundle", path=str(path))
    try:
        file = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise UserError("evidence.no_zip", path=str(path), problem=single_line(str(error))) from error
    with file:
        yield _open_zip(file, path)


def file_sha256(bundle: Bundle, name: str) -> str | None:
    """Compute the SHA-256 of a file's bytes; None if they cannot be read."""
    digest = hashlib.sha256()
    try:
        with bundle.open(name) as file:
            while part := file.read(CHUNK):
                digest.update(part)
    except UNREADABLE:
        return None
    return digest.hexdigest()


def read_small(bundle: Bundle, name: str, limit: int = MAX_TEXT) -> bytes | None:
    """Read a file's bytes; None if it is missing, has more than `limit`, or cannot be read."""
    if not bundle.sizes.get(name, limit + 1) <= limit:
        return None
    try:
        with bundle.open(name) as file:
            return file.read(limit)
    except UNREADABLE:
        return None


def is_inside(name: str) -> bool:
    """Tell whether `name` is a path inside the folder, on every system."""
    parts = name.split("/")
    return not re.search(r"[\\:\0]", name) and all(part not in ("", ".", "..") for part in parts)


def _open_folder(folder: Path) -> FolderBundle:
    sizes: dict[str, int] = {}
    problems: list[FileProblem] = []
    for here, folders, files in os.walk(folder):
        for name in sorted((*folders, *files)):
            path = Path(here) / name
            inside, status = path.relative_to(folder).as_posix(), path.lstat()
            if stat.S_ISREG(status.st_mode):
                sizes[inside] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                problems.append(file_problem(inside, "link"))
        _check_count(str(folder), len(sizes) + len(problems))
    _check_total(str(folder), sizes.values())
    return FolderBundle(folder, sizes, (*problems, *_same_on_some_systems(sizes)))


def _open_zip(file: zipfile.ZipFile, path: Path) -> ZipBundle:
    members = file.infolist()
    _check_count(str(path), len(members))
    _check_total(str(path), (m.file_size for m in members))
    sizes: dict[str, int] = {}
    problems: dict[str, FileProblem] = {}
    for member in members:
        name = member.filename
        if not is_inside(name.removesuffix("/")):
            problems[name] = file_problem(name, "outside")
        elif name in sizes:
            problems[name] = file_problem(name, "duplicate")
        elif member.flag_bits & 1:
            problems[name] = file_problem(name, "encrypted")
        elif stat.S_ISLNK(member.external_attr >> 16):
            problems[name] = file_problem(name, "link")
        elif member.is_dir():
            problems[name] = file_problem(name, "folder")
        else:
            sizes[name] = member.file_size
    known = {n: s for n, s in sizes.items() if n not in problems}
    for problem in (*_same_on_some_systems(known), *_framing_problems(file, path)):
        problems.setdefault(problem.name, problem)
    return ZipBundle(path, file, known, tuple(problems.values()))


def _same_on_some_systems(names: Iterable[str]) -> Iterator[FileProblem]:
    """Name the files whose names differ only in case, or in how a letter is written: some systems hold one of them."""
    first: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFC", name).casefold()
        if plain in first:
            yield file_problem(name, "same_name", other=first[plain])
        first.setdefault(plain, name)


def _framing_problems(file: zipfile.ZipFile, path: Path) -> Iterator[FileProblem]:
    """Name what surrounds the files of a zip otherwise than `pack_evidence` writes it.

    There, entries follow each other from the first byte on, and nothing stands before, between or behind them. So a zip
    has one reading, whatever program opens it.
    """
    end, place = path.stat().st_size, 0
    large = end > zipfile.ZIP64_LIMIT
    with path.open("rb") as raw:
        for member in file.infolist():
            raw.seek(member.header_offset)
            header = raw.read(LOCAL_HEADER.size)
            name = member.orig_filename.encode("utf-8", "surrogateescape")
            if member.header_offset != place:
                yield file_problem(ARCHIVE, "zip_gap", file=member.filename, found=member.header_offset, expected=place)
                return
            sizes = (member.CRC, member.compress_size, member.file_size, len(name), 0)
            due = (b"PK\3\4", member.extract_version, 0, 0, zipfile.ZIP_DEFLATED, *FIRST_DAY, *sizes)
            same = header == LOCAL_HEADER.pack(*due) and raw.read(len(name)) == name
            if field := _odd_field(member, large) or ("" if same else "local header") or _odd_data(raw, member):
                yield file_problem(member.filename, "zip_entry", field=field)
            after = sum(LOCAL_HEADER.unpack(header)[-2:]) if len(header) == LOCAL_HEADER.size else len(name)
            place += LOCAL_HEADER.size + after + member.compress_size
    directory = sum(46 + len(m.orig_filename.encode("utf-8", "surrogateescape")) for m in file.infolist())
    directory += sum(len(m.extra) for m in file.infolist()) if large else 0
    ends = {place + directory + 22, place + directory + 22 + 76} if large else {place + directory + 22}
    if file.start_dir != place or end not in ends:
        yield file_problem(ARCHIVE, "zip_rest", found=end, expected=min(ends))


def _odd_data(raw: IO[bytes], member: zipfile.ZipInfo) -> str | None:
    """Say in one word if more lies in the place of a file's compressed bytes than these: unpacking leaves it out.

    Another program might read it: a PDF may begin anywhere in the first kilobyte of a file.
    """
    unpacker, left = zlib.decompressobj(-zlib.MAX_WBITS), member.compress_size
    try:
        while left > 0 and not unpacker.eof:
            part = raw.read(min(CHUNK, left))
            left -= len(part) or left  # the file may end before
            while part and not unpacker.eof:
                unpacker.decompress(part, CHUNK)
                part = unpacker.unconsumed_tail
    except zlib.error:
        return None  # what is damaged is named when it is hashed
    return "compressed bytes" if unpacker.eof and (left or unpacker.unused_data) else None


def _odd_field(member: zipfile.ZipInfo, large: bool) -> str | None:
    """What of an entry of the zip's directory no run writes, in one word; None if nothing is."""
    versions = (20, 45) if large else (20,)
    fields = {
        "extra field": member.extra == b"" or (large and member.extra[:2] == b"\1\0" and len(member.extra) <= 28),
        "comment": member.comment == b"",
        "date": member.date_time == EPOCH,
        "compression": member.compress_type == zipfile.ZIP_DEFLATED,
        "attributes": (member.external_attr, member.internal_attr, member.volume) == (0o600 << 16, 0, 0),
        "flags": member.flag_bits == 0,
        "version": member.create_version in versions and member.extract_version in versions,
        "system": member.create_system in (0, 3) and member.reserved == 0,
    }
    return next((name for name, ok in fields.items() if not ok), None)


def _check_count(label: str, files: int) -> None:
    if files > MAX_FILES:
        raise UserError("evidence.many_files", bundle=label, most=MAX_FILES)


def _check_total(label: str, sizes: Iterable[int]) -> None:
    if (total := sum(sizes)) > MAX_TOTAL:
        raise UserError("evidence.too_large", bundle=label, most=MAX_TOTAL, given=total)
'''
SOURCES['cgidm.evidence.record_format_1'] = r'''"""The oldest format of a record, in the words of today's. Standard library alone, as `record`."""

from collections.abc import Callable
from typing import Any

TEXT = "evidence.text"  # the code of a note that holds a sentence of such a record


def upgrade_format_1(old: dict[str, Any]) -> dict[str, Any]:
    """Return a record of format 1 in the words of today's; `format` itself stays 1."""
    models, config = dict(old["models"]), dict(old["config"])
    commits = {new: models.pop(f"{role} commit", None) for role, new in (("base", "base"), ("finetuned", "suspect"))}
    embeddings = [models.pop(role) for role in sorted(k for k in models if k.startswith("embedding "))]
    known = {
        "base": models.pop("base", ""),
        "suspect": models.pop("finetuned", ""),
        "prompt": models.pop("prompt", ""),
        "embeddings": embeddings,
        "commits": {role: sha for role, sha in commits.items() if sha is not None},
        "unrelated": models.pop("unrelated", None),
        "unrelated_sha256": models.pop("unrelated SHA-256", None),
        "warning": _optional(_sentence, models.pop("careful", None)),
        "sha256": models.pop("sha256"),
    }
    recovery = {k: v for k, v in config["recovery"].items() if k != "weight_gradients"}
    together, lineup, stopped = old["set"], old.get("lineup"), old["stopped"]
    upgraded = {k: v for k, v in old.items() if k not in ("power", "weight_shift", "seed", "lineup")}
    return upgraded | {
        "format": 1,
        "pictures": [_upgrade_picture(p) for p in old["pictures"]],
        "set": _optional(lambda s: s | {"reason": _sentence(s["reason"])}, together),
        "expected_power": old.get("power"),
        "weight_distance": old.get("weight_shift"),
        "lineup": _optional(
            lambda known: (
                known | {"left_out": [left | {"reason": _sentence(left["reason"])} for left in known["left_out"]]}
            ),
            lineup,
        ),
        "controls": [c | {"notes": [_sentence(n) for n in c["notes"]]} for c in old["controls"]],
        "config": {"lineup": None, "views": ["as given"]} | config | {"recovery": recovery},
        "models": known | {"sha256": known["sha256"]},
        "machine": {"rows_per_call" if k == "rows_at_once" else k: v for k, v in old["machine"].items()},
        "stopped": stopped,
    }


def _upgrade_picture(old: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in old.items() if k not in ("path", "shift")}
    flags = [
        {"name": f["name"], "note": _sentence(f["explanation"], raised_if=f["raised_if"]), "blocks_verdict": True}
        for f in old["flags"]
    ]
    return kept | {
        "name": old["path"],
        "notes": [_sentence(n) for n in old["notes"]],
        "not_computed": {score: _sentence(why) for score, why in old["not_computed"].items()},
        "reason": _sentence(old["reason"]),
        "flags": flags,
        "view": old.get("view", "as given"),
        "distance_from_base": old.get("shift"),
    }


def _sentence(text: str, **more: str) -> dict[str, Any]:
    return {"code": TEXT, "params": {"text": text, **more}}


def _optional(change: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else change(value)
'''
SOURCES['cgidm.evidence.record_json'] = r'''"""Dataclasses as what `json` writes, and back: every value is checked against its type. Standard library alone."""

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..messages import Note

MOST_VALUES = 20_000  # of a list: null scores are thousands
LONGEST_TEXT = 20_000  # characters
SINCE = "since"  # metadata of a field: the first format that has it


def since(number: int) -> dict[str, int]:
    """The metadata of a field that records have since a format; in older ones it has its default."""
    return {SINCE: number}


def to_json(value: Any, number: int | None = None) -> Any:
    """A dataclass, note, tuple or mapping as what `json` writes; `from_json` is its inverse.

    Args:
        value: what is written.
        number: a record's format; fields that it had not yet are left out. None: all are written.
    """
    if isinstance(value, Note):
        return {"code": value.code, "params": to_json(value.params)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if number is None or f.metadata.get(SINCE, 0) <= number]
        return {f.name: to_json(getattr(value, f.name), number) for f in fields}
    if isinstance(value, Mapping):
        return {str(k): to_json(v, number) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v, number) for v in value]
    return value


def find_newer_field(stated: Any, written: Any) -> str | None:
    """The first field that a record states and that its format does not write; None if there is none.

    Args:
        stated: a record as `json` read it.
        written: the same record as `to_json` writes it in that format.
    """
    if isinstance(stated, dict) and isinstance(written, dict):
        newer = [str(key) for key in stated if key not in written]
        pairs = [(value, written[key]) for key, value in stated.items() if key in written]
    elif isinstance(stated, list) and isinstance(written, list):
        newer, pairs = [], [(value, written[i]) for i, value in enumerate(stated)]
    else:
        return None
    deeper = (found for pair in pairs if (found := find_newer_field(*pair)) is not None)
    return newer[0] if newer else next(deeper, None)


def from_json(kind: Any, value: Any, where: str) -> Any:
    """Build a value of type `kind` from what `json` read.

    Raises:
        ValueError: with the place of the first value that is missing, unknown or of another type.
    """
    if kind is Any:
        return value
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is tuple:
        _expect(isinstance(value, list), where, "a list")
        _expect(len(value) <= MOST_VALUES, where, f"at most {MOST_VALUES} values")
        _expect(Ellipsis in arguments or len(value) == len(arguments), where, f"{len(arguments)} values")
        return tuple(from_json(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), where, "an object")
        return {k: from_json(arguments[1], v, f"{where}.{k:.40}") for k, v in value.items()}
    if origin is Literal:
        _expect(value in arguments, where, f"one of {arguments}")
        return value
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where)
    if kind is float:
        _expect(isinstance(value, int | float) and not isinstance(value, bool), where, "a number")
        return float(value)
    _expect(type(value) is kind, where, getattr(kind, "__name__", str(kind)))
    _expect(kind is not str or len(value) <= LONGEST_TEXT, where, f"at most {LONGEST_TEXT} characters")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    (kind,) = (k for k in kinds if k is not type(None))
    return from_json(kind, value, where)


def _build(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), where, "an object")
    hints = _hints(kind)
    unknown = value.keys() - hints.keys()
    _expect(not unknown, where, f"no {min(map(str, unknown), default=''):.40}")
    lacking = {f.name for f in dataclasses.fields(kind) if _is_required(f)} - value.keys()
    _expect(not lacking, where, f"a value for {min(lacking, default='')}")
    return kind(**{name: from_json(hints[name], v, f"{where}.{name}") for name, v in value.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return {"code": str, "params": dict[str, Any]} if kind is Note else get_type_hints(kind)


def _is_required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _expect(holds: bool, where: str, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{where}: expected {wanted}")
'''
SOURCES['cgidm.evidence.seal'] = r'''"""Manifest and seal: one number that changes with any byte of a bundle, and which file it was.

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
'''
SOURCES['cgidm.evidence.standalone'] = r'''"""What lies in every bundle for whoever has nothing of this tool: `HOW-TO-CHECK.txt`, and `verify.py`."""
'''
SOURCES['cgidm.evidence.standalone.script'] = r'''"""What `verify.py` does, which lies in every bundle: seal, digests and names, with Python's standard library alone.

`build` makes the file of this module and of those that it imports, whose text is not changed. So whatever they import
at their top must run on Python 3.9.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...messages.text import print_line, single_line
from ..bundle_reader import open_bundle
from ..seal import SEAL, check_seal, plain_record

MOST_LINES = 40  # of problems, and of pictures
SELF = "verify.py"
NOT_CHECKED = (
    "whether answers, p-values and reports follow from the recorded scores, signatures and time stamps, whether a "
    "repeated run gives these scores, and whatever only its maker states: date, names, machine, who made the controls"
)


def main(arguments: Sequence[str], script: Path, newest: int, version: str) -> int:
    """Check the bundle that is named, or the one in whose folder the script lies.

    Args:
        arguments: of the command line: nothing, or a folder or zip.
        script: the file that runs.
        newest: the newest format of a record that it reads.
        version: of the library that it was made from.

    Returns:
        0 if the bundle is whole, 1 if not, 2 if it cannot be read.
    """
    if len(arguments) > 1 or any(a.startswith("-") for a in arguments):
        print_line(f"usage: python3 -I {SELF} [FOLDER or ZIP of evidence]", to_stderr=True)
        return 2
    path = Path(arguments[0]) if arguments else script.resolve().parent
    try:
        return _check(path, newest, version, hashlib.sha256(script.read_bytes()).hexdigest())
    except UserError as error:
        print_line(f"error: {error}", to_stderr=True)
        return 2


def _check(path: Path, newest: int, version: str, own_sha256: str) -> int:
    with open_bundle(path) as bundle:
        problems = check_seal(bundle, lambda bundle: plain_record(bundle, newest))
        if problems:
            print_line(f"{bundle.label}: altered")
            for problem in problems[:MOST_LINES]:
                print_line(f"  {problem}")
            print_line(f"{len(problems)} of its files are not as they were sealed")
            return 1
        print_line(f"{bundle.label}: whole; {len(bundle.sizes)} files are as they were sealed")
        with bundle.open(SEAL) as file:
            print_line(f"seal: {file.read(64).decode()}")
            print_line("  Compare it with the seal that you were given. Whoever alters a bundle can seal it anew.")
        print_line("stated by whoever made it:")
        for line in stated_lines(plain_record(bundle, newest)):
            print_line(f"  {line}")
    print_line(f"not checked here: {NOT_CHECKED}")
    print_line(f"In full, where Python can install packages: pipx run cgidm verify {single_line(path.name)}")
    print_line(
        f"This script is of cgidm {version}, SHA-256 {own_sha256}. Whoever made the bundle could have changed it:"
    )
    print_line("  take it from somebody whom you trust, or compare this number with theirs.")
    return 0


def stated_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """Say what a bundle claims: date, models, and the answer of each picture. Any value may be of any type."""
    models = record.get("models")
    yield f"date: {_value(record, 'date')}"
    for role in ("suspect", "base"):
        yield f"{role}: {_value(models, role)}"
    if record.get("set") is not None:
        yield f"all pictures together: {_answer(record.get('set'))}"
    pictures = record.get("pictures")
    pictures = pictures if isinstance(pictures, list) else []
    for picture in pictures[:MOST_LINES]:
        yield f"picture {_value(picture, 'name')}: {_answer(picture)}"
        yield f"  SHA-256 of its file: {_value(picture, 'sha256')}"
    if len(pictures) > MOST_LINES:
        yield f"and {len(pictures) - MOST_LINES} pictures more"


def _answer(judged: object) -> str:
    p = judged.get("p_value") if isinstance(judged, dict) else None
    return _value(judged, "outcome") + (f" (p = {p:.3g})" if isinstance(p, float) else "")


def _value(table: object, name: str) -> str:
    found = table.get(name) if isinstance(table, dict) else None
    return "not stated" if found is None else single_line(str(found))


if __name__ == "__main__":
    sys.exit("This is a part of verify.py, which lies in every bundle of evidence.")
'''
SOURCES['cgidm.messages'] = r'''"""Everything that is said to a user, as data: a code and its parameters. Sentences are made of them at the edge.

A code is `room.what` ("pictures.too_large"). The English sentence of each code stands in `en/<room>.json`, with
`{parameter}` where a value goes (Python's format strings: `{bytes:,}`). Another language is another folder with the
same codes. Nothing reads a sentence back: code that must know what was said compares codes.

Standard library alone: `verify` and `doctor` answer where nothing else is installed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from .text import single_line

CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")
STOPPED = re.compile(r"\{(\w+)[^{}]*\}[.。]")  # a parameter before a full stop
LONGEST = 600  # characters shown of a parameter
Language = Literal["en", "de", "fr", "es", "ja"]  # that sentences are written in
_folders = [Path(__file__).parent / "en"]


@dataclass(frozen=True)
class Note:
    """One statement: what is meant, and the values in it.

    Attributes:
        code: `room.what`, a key of the tables of messages.
        params: JSON values (texts, numbers, lists of them), by the names that the message uses.
    """

    code: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The English sentence."""
        return render(self.code, self.params)

    def __hash__(self) -> int:
        return hash((self.code, json.dumps(dict(self.params), sort_keys=True, default=str)))


def note(code: str, **params: Any) -> Note:
    """Make a `Note` with keyword parameters."""
    return Note(code, params)


def render(code: str, params: Mapping[str, Any], table: Mapping[str, str] | None = None) -> str:
    """Fill in the sentence of `code`, in English or in the language of `table`.

    Texts from outside become a single printable line; lists are joined by commas; a `Note` among the parameters is
    rendered in the same language. A full stop that a text brings is not doubled. A code that no table holds (a newer
    version's, or a hostile record's) is shown as itself, with its parameters.
    """
    sentence = (table or {}).get(code) or english().get(code)
    if sentence is None:
        return single_line(code if not params else f"{code}: {_listed(params)}", LONGEST)
    try:
        values = {name: _shown(value, table) for name, value in params.items()}
        for name in STOPPED.findall(sentence):  # what a library says may end with one, too
            if isinstance(value := values.get(name), str):
                values[name] = value.removesuffix(".").removesuffix("。")
        return sentence.format(**values)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):  # parameters of another version
        return single_line(f"{code}: {_listed(params)}", LONGEST)


@cache
def english() -> Mapping[str, str]:
    """Every English sentence, by its code."""
    found: dict[str, str] = {}
    for folder in _folders:
        for path in sorted(folder.glob("*.json")):
            table = json.loads(path.read_text(encoding="utf-8"))
            assert not found.keys() & table.keys(), f"{path.name} repeats {found.keys() & table.keys()}"
            found |= table
    return found


@cache
def translations(language: str) -> Mapping[str, str]:
    """Every sentence of another language, by its code; none for English, or for a language that has no folder.

    What is missing is said in English.
    """
    if language not in get_args(Language) or language == "en":
        return {}
    found: dict[str, str] = {}
    for path in sorted((Path(__file__).parent / language).glob("*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def add_messages(folder: Path) -> None:
    """Also look for English sentences in the JSON files of `folder`: those of a program built on this library."""
    if folder not in _folders:
        _folders.append(folder)
        english.cache_clear()


def _shown(value: Any, table: Mapping[str, str] | None) -> Any:
    if isinstance(value, Note):
        return render(value.code, value.params, table)
    if isinstance(value, Mapping) and value.keys() == {"code", "params"}:  # a note that was read from JSON
        return render(str(value["code"]), value["params"], table)
    if isinstance(value, (str, PathLike)):
        return single_line(str(value), LONGEST)
    if isinstance(value, Sequence):
        return ", ".join(str(_shown(part, table)) for part in value)
    return value


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in params.items())
'''
SOURCES['cgidm.messages.text'] = r'''"""Text from outside, made safe to show. Standard library alone."""

import re
import sys

LONGEST = 200  # characters of a text from outside


def single_line(text: str, longest: int = LONGEST) -> str:
    """Return `text` on one line, printable characters only, at most `longest` of them.

    A note or a file name may hold terminal commands, line breaks, or a megabyte.
    """
    flat = re.sub(r"\s+", " ", text)
    printable = "".join(c for c in flat if c.isprintable()).strip()
    return printable if len(printable) <= longest else printable[: longest - 1] + "…"


def print_line(text: object, *, to_stderr: bool = False) -> None:
    """Print `text` as one line of a terminal, with its spaces, and a space for each character that is not printable.

    A name of a file or tensor cannot command the terminal, nor begin a line of its own. Letters that the terminal
    lacks become question marks.

    Args:
        text: what is printed, as `str` makes it.
        to_stderr: whether it goes to standard error, and not to standard output.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    line = "".join(c if c.isprintable() else " " for c in str(text))
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), file=stream)
'''


class Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules above, and no others."""

    def find_spec(self, name, path=None, target=None):
        if name not in SOURCES:
            return None
        is_package = any(other.startswith(name + ".") for other in SOURCES)
        return importlib.util.spec_from_loader(name, self, is_package=is_package)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name, lazy = module.__name__, __future__.annotations.compiler_flag
        module.__file__ = __file__
        exec(compile(SOURCES[name], name, "exec", flags=lazy, dont_inherit=True), module.__dict__)


if __name__ == "__main__":
    sys.meta_path.insert(0, Sources())
    messages = importlib.import_module("cgidm.messages")
    messages.english = lambda: SENTENCES
    script = importlib.import_module("cgidm.evidence.standalone.script")
    sys.exit(script.main(sys.argv[1:], Path(__file__), 7, "0.2.0"))
