"""Time stamps of a manifest (RFC 3161): what an authority states that it saw, and when. They are checked offline.

    openssl ts -verify -data manifest.json -in stamps/01.tsr -CAfile ca.pem

A stamp shows that the manifest, and so every file that it states, existed at that time. It is checked against the
certificates that somebody gives: a root, or a root and what lies between. These must be valid at the stamped time, not
now. `rfc3161-client` does the work where it is installed; nothing else of the library needs it.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...errors import UserError
from ...messages.text import single_line
from ..bundle_reader import Bundle, FileProblem, file_problem, read_small
from ..seal import MANIFEST, STAMPS, is_envelope

MAX_STAMP = 200_000  # bytes of a stamp, with the certificates in it
MAX_CERTIFICATES = 2_000_000  # bytes of the file of certificates that somebody gives
GRANTED = 0
IMPRINTS = {"2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
CHAIN_ERROR = re.compile(r"Verify error: ([^\"]+)")  # openssl's words for what is wrong with a chain of certificates
INVALID_THEN = ("certificate has expired", "certificate is not yet valid")
CLOCKS = timedelta(minutes=5)  # between the clock of an ordinary computer and an authority's


@dataclass(frozen=True)
class Stamp:
    """A time stamp as it states itself, checked or not."""

    name: str  # its file in the bundle
    time: datetime
    authority: str
    checked: bool = False  # by a given certificate

    def __str__(self) -> str:
        return f"{self.authority} at {self.time:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class Stamps:
    """What a bundle's time stamps show."""

    stamps: tuple[Stamp, ...] = ()
    problems: tuple[FileProblem, ...] = ()

    @property
    def earliest(self) -> Stamp | None:
        """The earliest stamp that was checked; if none was, the earliest of all."""
        chosen = [s for s in self.stamps if s.checked] or self.stamps
        return min(chosen, key=lambda s: s.time, default=None)


def check_stamps(bundle: Bundle, certificates: Path | None = None) -> Stamps:
    """Read the time stamps of a manifest, and check them if certificates are given.

    A stamp of an authority that no given certificate names is left unchecked, as long as another one is checked.

    Args:
        bundle: the evidence.
        certificates: a PEM file of the authorities' root certificates, and of those in between.

    Raises:
        UserError: if the file holds no certificate, or if there is a stamp and `rfc3161-client` is not installed.
    """
    trusted = None if certificates is None else _read_certificates(certificates)
    names = sorted(n for n in bundle.sizes if n.startswith(f"{STAMPS}/") and is_envelope(n))
    if not names:
        missing = () if trusted is None else (file_problem(f"{STAMPS}/", "unstamped"),)
        return Stamps(problems=missing)
    found: list[Stamp] = []
    problems: list[FileProblem] = []
    strangers: list[FileProblem] = []
    manifest = read_small(bundle, MANIFEST) or b""
    for name in names:
        stamp, problem = _check(name, read_small(bundle, name, MAX_STAMP), manifest, trusted)
        if problem is not None and problem.note.code.endswith("stamp_other_authority"):
            strangers.append(problem)
        elif problem is not None:
            problems.append(problem)
        found += [stamp] if stamp is not None else []
    if not any(s.checked for s in found):
        problems += strangers
    return Stamps(tuple(found), tuple(problems))


def read_response(data: bytes, manifest: bytes, nonce: int | None) -> Stamp:
    """Read what an authority answered to a request for a stamp.

    Args:
        data: the answer, in DER.
        manifest: what was to be stamped.
        nonce: of the request.

    Raises:
        UserError: if it is no stamp of this manifest for this request.
    """
    try:
        answer = _decode(data)
        if answer.status != GRANTED:
            raise UserError("evidence.stamp_refused", said=single_line(" ".join(answer.status_string)) or "no reason")
        if _imprint(answer) != _expected(answer, manifest) or answer.tst_info.nonce != nonce:
            raise UserError("evidence.stamp_not_ours")
        return Stamp("", *_statements(answer))
    except UserError:
        raise
    except Exception as error:  # whatever the parser makes of such bytes
        raise UserError("evidence.no_stamp_answer", problem=single_line(str(error))) from error


def is_after_stamp(date: str, stamp: Stamp) -> bool:
    """Tell whether a record states a date later than the time at which its manifest was stamped."""
    try:
        stated = datetime.fromisoformat(date)
        return stated - stamp.time > CLOCKS
    except (ValueError, TypeError):  # no date, or one without a time zone
        return True


def _check(
    name: str, data: bytes | None, manifest: bytes, trusted: Sequence[Any] | None
) -> tuple[Stamp | None, FileProblem | None]:
    """The stamp, if it can be shown, and what is wrong with it."""
    tools = _tools()
    try:
        answer = _decode(data or b"")
        time, authority = _statements(answer)
        granted, same = answer.status == GRANTED, _imprint(answer) == _expected(answer, manifest)
    except Exception:
        return None, file_problem(name, "stamp_unreadable")
    stamp = Stamp(name, time, authority)
    if not granted:
        return None, file_problem(name, "stamp_refused")
    if not same:
        return None, file_problem(name, "stamp_other_manifest", authority=authority)
    if trusted is None:
        return stamp, None
    roots = [c for c in trusted if c.issuer == c.subject] or [*trusted]
    between = [c for c in trusted if c not in roots]
    try:
        tools.VerifierBuilder(roots=roots, intermediates=between).build().verify_message(answer, manifest)
    except Exception as error:
        return _explain(str(error), stamp)
    return Stamp(name, time, authority, checked=True), None


def _explain(error: str, stamp: Stamp) -> tuple[Stamp | None, FileProblem]:
    """What is wrong with a stamp of this manifest, by the words of the library."""
    params = {"authority": stamp.authority, "time": f"{stamp.time:%Y-%m-%d %H:%M:%S} UTC"}
    chain = CHAIN_ERROR.search(error)
    if chain is not None and chain[1].startswith(INVALID_THEN):
        return None, file_problem(stamp.name, "stamp_expired", **params)
    if chain is not None:
        return stamp, file_problem(stamp.name, "stamp_other_authority", **params)
    if "EKU" in error:
        return None, file_problem(stamp.name, "stamp_purpose", **params)
    return None, file_problem(stamp.name, "stamp_changed", **params)


def _statements(answer: Any) -> tuple[datetime, str]:
    """The time that an answer states, and who states it: by the certificate in it, or else by whom that is issued."""
    (signer,) = answer.signed_data.signer_infos
    held = map(_tools().load_certificate, answer.signed_data.certificates)
    own = (c for c in held if (c.issuer, c.serial_number) == (signer.issuer, signer.serial_number))
    certificate = next(own, None)
    name = f"holder of a certificate by {signer.issuer.rfc4514_string()}"
    name = name if certificate is None else certificate.subject.rfc4514_string()
    return answer.tst_info.gen_time, single_line(name)


def _imprint(answer: Any) -> bytes:
    return answer.tst_info.message_imprint.message


def _expected(answer: Any, manifest: bytes) -> bytes | None:
    """The digest of the manifest by the stamp's own function; None if that is none of SHA-2."""
    function = IMPRINTS.get(answer.tst_info.message_imprint.hash_algorithm.dotted_string)
    return None if function is None else hashlib.new(function, manifest).digest()


def _decode(data: bytes) -> Any:
    return _tools().decode(_with_sorted_certificates(data))


def _with_sorted_certificates(data: bytes) -> bytes:
    """The same answer, its certificates in the order of DER.

    They are a set, which no signature covers (RFC 5652, 5.1). openssl writes them in another order, which the library
    does not read.
    """
    try:
        parts = [_parts(data, *_content(data, 0, len(data)))]  # TimeStampResp: status, token
        for which in (1, 1, 0):  # ContentInfo's content, which is tagged, holds SignedData
            parts.append(_parts(data, *parts[-1][which][1:]))
        (certificates,) = [p for p in parts[-1] if data[p[0]] == 0xA0]
        inner = sorted(data[a:c] for a, _, c in _parts(data, *certificates[1:]))
        return data[: certificates[1]] + b"".join(inner) + data[certificates[2] :]
    except (IndexError, ValueError):  # no certificates, or no such structure
        return data


def _parts(data: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """The values in `data[start:end]`: where each begins, where its content begins, and where it ends."""
    found: list[tuple[int, int, int]] = []
    while start < end:
        inside, stop = _content(data, start, end)
        found.append((start, inside, stop))
        start = stop
    return found


def _content(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the content of the value at `start` begins and ends (DER, X.690)."""
    length, inside = data[start + 1], start + 2
    if length & 0x80:
        inside += length & 0x7F
        length = int.from_bytes(data[start + 2 : inside])
    if inside + length > end:
        raise ValueError("longer than what it lies in")
    return inside, inside + length


def _read_certificates(path: Path) -> list[Any]:
    tools = _tools()
    try:
        with path.open("rb") as file:
            found = tools.load_certificates(file.read(MAX_CERTIFICATES))
    except OSError as error:
        raise UserError("evidence.no_certificates", path=str(path), problem=error.strerror) from error
    except ValueError as error:
        raise UserError("evidence.no_certificates", path=str(path), problem="no PEM") from error
    return list(_unique(found))


def _unique(certificates: Sequence[Any]) -> Iterator[Any]:
    """Each certificate once."""
    known: list[Any] = []
    for certificate in certificates:
        if certificate not in known:
            known.append(certificate)
            yield certificate


def _tools() -> SimpleNamespace:
    """What is needed of `rfc3161-client` and `cryptography`."""
    try:
        from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificates
        from rfc3161_client import VerifierBuilder, decode_timestamp_response
    except ImportError as error:
        raise UserError("evidence.no_rfc3161") from error
    return SimpleNamespace(
        decode=decode_timestamp_response,
        VerifierBuilder=VerifierBuilder,
        load_certificate=load_der_x509_certificate,
        load_certificates=load_pem_x509_certificates,
    )
