"""A bundle signed by a person: Ed25519 over the bytes of `manifest.json`, with keys and files that openssl reads, too.

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out public.pem
    openssl pkeyutl -verify -pubin -inkey signer.pem -rawin -in manifest.json -sigfile manifest.sig

`cryptography` does the work where it is installed; nothing else of the library needs it.
"""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..errors import UserError
from .bundle_reader import Bundle, FileProblem, file_problem, read_small
from .seal import MANIFEST, SIGNATURE, SIGNER

MAX_KEY = 10_000  # bytes


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


def check_signature(bundle: Bundle, expected_key: Path | None = None) -> tuple[str | None, list[FileProblem]]:
    """Find who signed the manifest, and what is wrong with the signature.

    Args:
        bundle: the evidence.
        expected_key: the public key that the manifest must be signed with. Without it, a bundle may be unsigned.

    Returns:
        The fingerprint of the public key, if the manifest is signed; and the problems.

    Raises:
        UserError: if `expected_key` is no public key, or if there is something to check and `cryptography` is not
            installed.
    """
    signed = [name for name in (SIGNATURE, SIGNER) if name in bundle.sizes]
    if not signed and expected_key is None:
        return None, []
    keys = _keys()
    trusted = None if expected_key is None else _public_key(_read(expected_key))
    if expected_key is not None and trusted is None:
        raise UserError("evidence.no_public_key", path=str(expected_key))
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
    if trusted is not None and _pem(trusted) != pem:
        keys_named = {"found": fingerprint(key), "expected": fingerprint(trusted)}
        return None, [file_problem(SIGNER, "other_signer", **keys_named)]
    try:
        key.verify(signature or b"", manifest or b"")
    except keys.InvalidSignature:
        if trusted is not None:  # the key is the right one
            return None, [file_problem(SIGNATURE, "signature")]
        return None, [file_problem(SIGNATURE, "signature_or_signer"), file_problem(SIGNER, "signer_or_signature")]
    return fingerprint(key), []


def fingerprint(public: Any) -> str:
    """Compute the SHA-256 of the key: `openssl pkey -pubin -in public.pem -outform DER | sha256sum`."""
    of = _keys().serialization
    return hashlib.sha256(public.public_bytes(of.Encoding.DER, of.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


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
