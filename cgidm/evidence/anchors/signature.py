"""A bundle signed by one person or several: Ed25519 over the bytes of `manifest.json`, with keys that openssl reads.

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out public.pem
    openssl pkeyutl -verify -pubin -inkey signatures/01.pem -rawin -in manifest.json -sigfile signatures/01.sig

Older bundles have one signature, `manifest.sig` by `signer.pem`. `cryptography` does the work where it is installed;
nothing else of the library needs it.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...errors import UserError
from ..bundle_reader import Bundle, FileProblem, file_problem, open_bundle, read_small
from ..seal import MANIFEST, OLD_SIGNATURE, OLD_SIGNER, SIGNATURES, is_envelope
from .envelope import add_to_bundle, next_number

MAX_KEY = 10_000  # bytes
# what is wrong with who signed, and not with the bundle
OF_SIGNER = ("evidence.problem.unsigned", "evidence.problem.other_signer")


@dataclass(frozen=True)
class Signatures:
    """Who signed a manifest."""

    keys: tuple[str, ...] = ()  # the fingerprints of the keys whose signatures are right
    named: str | None = None  # the one of them that was given
    problems: tuple[FileProblem, ...] = ()


def read_private_key(path: Path) -> Any:
    """Read the key that signs.

    Raises:
        UserError: if it is missing or another kind of key, or if `cryptography` is not installed.
    """
    return parse_private_key(_read(path), str(path))


def parse_private_key(data: bytes, name: str) -> Any:
    """Read the key that signs from the bytes of a PEM; `name` is how an error calls it.

    Raises:
        UserError: if it is another kind of key, or if `cryptography` is not installed.
    """
    keys = _keys()
    try:
        key = keys.serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, keys.UnsupportedAlgorithm) as error:
        raise UserError("evidence.no_private_key", path=name) from error
    if not isinstance(key, keys.Ed25519PrivateKey):
        raise UserError("evidence.no_private_key", path=name)
    return key


def sign_bundle(path: Path, key: Any) -> str:
    """Add a signature to a sealed folder or zip, and return the fingerprint of the public key.

    A key that has signed already signs no second time.

    Raises:
        UserError: if the bundle is not whole, or has too many signatures.
    """
    public = key.public_key()
    with open_bundle(path) as bundle:
        pems = {name: read_small(bundle, name, MAX_KEY) for _, name in _pairs(bundle)}
        manifest = read_small(bundle, MANIFEST) or b""
        number = next_number(bundle.sizes, SIGNATURES, bundle.label)
    own = (name.removesuffix(".pem") for name, pem in pems.items() if pem == _pem(public))
    stem = next(own, f"{SIGNATURES}/{number:02d}")
    if stem != OLD_SIGNER.removesuffix(".pem"):
        add_to_bundle(path, {f"{stem}.sig": key.sign(manifest), f"{stem}.pem": _pem(public)})
    return fingerprint(public)


def check_signatures(bundle: Bundle, signer: str | None = None) -> Signatures:
    """Find who signed the manifest, and what is wrong with the signatures.

    Args:
        bundle: the evidence.
        signer: the public key that the manifest must be signed with: its PEM file, or its fingerprint. Without it, a
            bundle may be unsigned.

    Raises:
        UserError: if `signer` is no public key, or if there is something to check and `cryptography` is not
            installed.
    """
    pairs = list(_pairs(bundle))
    if not pairs and signer is None:
        return Signatures()
    trusted = None if signer is None else _signer_fingerprint(signer)
    if not pairs:
        return Signatures(problems=(file_problem(f"{SIGNATURES}/", "unsigned"),))
    found: list[str] = []
    problems: list[FileProblem] = []
    for signature, pem in pairs:
        key, wrong = _check(bundle, signature, pem, trusted)
        found += [key] if key is not None else []
        problems += wrong
    if trusted is not None and trusted not in found and not problems:
        others = {"found": ", ".join(found), "expected": trusted}
        problems.append(file_problem(pairs[0][1], "other_signer", **others))
    return Signatures(tuple(dict.fromkeys(found)), trusted if trusted in found else None, tuple(problems))


def fingerprint(public: Any) -> str:
    """Compute the SHA-256 of the key: `openssl pkey -pubin -in public.pem -outform DER | sha256sum`."""
    of = _keys().serialization
    return hashlib.sha256(public.public_bytes(of.Encoding.DER, of.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _pairs(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """The files of each signature, and of its key; one of the two may be missing."""
    if OLD_SIGNATURE in bundle.sizes or OLD_SIGNER in bundle.sizes:
        yield OLD_SIGNATURE, OLD_SIGNER
    names = [n for n in bundle.sizes if n.startswith(f"{SIGNATURES}/") and is_envelope(n)]
    for stem in sorted({name.rpartition(".")[0] for name in names}):
        yield f"{stem}.sig", f"{stem}.pem"


def _check(bundle: Bundle, signature: str, pem: str, trusted: str | None) -> tuple[str | None, list[FileProblem]]:
    """The fingerprint of the key, if it signed the manifest; and the problems."""
    keys = _keys()
    for name in (signature, pem):
        if name not in bundle.sizes:
            return None, [file_problem(name, "missing")]
    data, written = read_small(bundle, signature, MAX_KEY), read_small(bundle, pem, MAX_KEY)
    key = None if written is None else _public_key(written)
    if key is None or _pem(key) != written:
        return None, [file_problem(pem, "changed_signer")]
    try:
        key.verify(data or b"", read_small(bundle, MANIFEST) or b"")
    except keys.InvalidSignature:
        if trusted == fingerprint(key):  # the key is the right one
            return None, [file_problem(signature, "signature")]
        wrong = file_problem(signature, "signature_or_signer", key=pem)
        return None, [wrong, file_problem(pem, "signer_or_signature", signature=signature)]
    return fingerprint(key), []


def _signer_fingerprint(signer: str) -> str:
    """The fingerprint that somebody gives, or that of the public key in the file that somebody gives."""
    digits = re.sub(r"[:\s]", "", signer).lower()
    if re.fullmatch(r"[0-9a-f]{64}", digits):
        return digits
    if re.fullmatch(r"[0-9a-fA-F:\s]{32,}", signer):  # no file's name: digits are missing
        raise UserError("evidence.no_signer", given=signer)
    key = _public_key(_read(Path(signer)))
    if key is None:
        raise UserError("evidence.no_public_key", path=signer)
    return fingerprint(key)


def _pem(public: Any) -> bytes:
    of = _keys().serialization
    return public.public_bytes(of.Encoding.PEM, of.PublicFormat.SubjectPublicKeyInfo)


def _public_key(pem: bytes) -> Any:
    """The key; None if it is no public Ed25519 key."""
    keys = _keys()
    try:
        key = keys.serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, keys.UnsupportedAlgorithm):
        return None
    return key if isinstance(key, keys.Ed25519PublicKey) else None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY)
    except OSError as error:
        raise UserError("evidence.unreadable_key", path=str(path), problem=error.strerror) from error


def _keys() -> SimpleNamespace:
    """What is needed of `cryptography`."""
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    except ImportError as error:
        raise UserError("evidence.no_cryptography") from error
    return SimpleNamespace(
        InvalidSignature=InvalidSignature,
        UnsupportedAlgorithm=UnsupportedAlgorithm,
        serialization=serialization,
        Ed25519PrivateKey=Ed25519PrivateKey,
        Ed25519PublicKey=Ed25519PublicKey,
    )
