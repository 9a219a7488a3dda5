"""A bundle signed by a person: Ed25519 over the bytes of `manifest.json`, with keys and files that openssl reads, too.

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out public.pem
    openssl pkeyutl -verify -pubin -inkey signer.pem -rawin -in manifest.json -sigfile manifest.sig

`cryptography` does the work where it is installed; nothing else of the library needs it.
"""

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..errors import UserError
from .bundle_reader import Bundle, FileProblem, file_problem, read_small
from .seal import MANIFEST, SIGNATURE, SIGNER

MAX_KEY = 10_000  # bytes
# what is wrong with who signed, and not with the bundle
OF_SIGNER = ("evidence.problem.unsigned", "evidence.problem.other_signer")


def read_private_key(path: Path) -> Any:
    """Read the key that signs.

    Raises:
        UserError: if it is missing or another kind of key, or if `cryptography` is not installed.
    """
    keys, data = _keys(), _read(path)
    try:
        key = keys.serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, keys.UnsupportedAlgorithm) as error:
        raise UserError("evidence.no_private_key", path=str(path)) from error
    if not isinstance(key, keys.Ed25519PrivateKey):
        raise UserError("evidence.no_private_key", path=str(path))
    return key


def sign_folder(folder: Path, key: Any) -> str:
    """Sign a sealed folder, and return the fingerprint of the public key."""
    public = key.public_key()
    (folder / SIGNATURE).write_bytes(key.sign((folder / MANIFEST).read_bytes()))
    (folder / SIGNER).write_bytes(_pem(public))
    return fingerprint(public)


def check_signature(bundle: Bundle, signer: str | None = None) -> tuple[str | None, list[FileProblem]]:
    """Find who signed the manifest, and what is wrong with the signature.

    Args:
        bundle: the evidence.
        signer: the public key that the manifest must be signed with: its PEM file, or its fingerprint. Without it, a
            bundle may be unsigned.

    Returns:
        The fingerprint of the public key, if the manifest is signed; and the problems.

    Raises:
        UserError: if `signer` is no public key, or if there is something to check and `cryptography` is not
            installed.
    """
    signed = [name for name in (SIGNATURE, SIGNER) if name in bundle.sizes]
    if not signed and signer is None:
        return None, []
    keys = _keys()
    trusted = None if signer is None else _signer_fingerprint(signer)
    if not signed:
        return None, [file_problem(SIGNATURE, "unsigned")]
    if len(signed) == 1:
        (gone,) = {SIGNATURE, SIGNER} - set(signed)
        return None, [file_problem(gone, "missing")]
    signature, pem = read_small(bundle, SIGNATURE, MAX_KEY), read_small(bundle, SIGNER, MAX_KEY)
    manifest = read_small(bundle, MANIFEST)
    key = None if pem is None else _public_key(pem)
    if key is None or _pem(key) != pem:
        return None, [file_problem(SIGNER, "changed_signer")]
    found = fingerprint(key)
    try:
        key.verify(signature or b"", manifest or b"")
    except keys.InvalidSignature:
        if trusted == found:  # the key is the right one
            return None, [file_problem(SIGNATURE, "signature")]
        return None, [file_problem(SIGNATURE, "signature_or_signer"), file_problem(SIGNER, "signer_or_signature")]
    if trusted not in (None, found):
        return found, [file_problem(SIGNER, "other_signer", found=found, expected=trusted)]
    return found, []


def fingerprint(public: Any) -> str:
    """Compute the SHA-256 of the key: `openssl pkey -pubin -in public.pem -outform DER | sha256sum`."""
    of = _keys().serialization
    return hashlib.sha256(public.public_bytes(of.Encoding.DER, of.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


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
