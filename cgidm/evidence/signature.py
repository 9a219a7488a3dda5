"""A bundle signed by a person: Ed25519 over the bytes of `manifest.json`, by keys and files that openssl reads too.

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
from .bundle_reader import Bundle, Fault, read_small
from .seal import MANIFEST, SIGNATURE, SIGNER

PRIVATE = "accepted: a private Ed25519 key without a password, in a PEM file (openssl genpkey -algorithm ed25519)"
PUBLIC = "accepted: a public Ed25519 key in a PEM file (openssl pkey -in key.pem -pubout)"
MAX_KEY = 10_000  # bytes


def read_private_key(path: Path) -> Any:
    """The key that signs.

    Raises:
        UserError: if it is missing or another kind of key, or if `cryptography` is not installed.
    """
    keys = _keys()
    try:
        key = keys.serialization.load_pem_private_key(_read(path, PRIVATE), None)
    except (ValueError, TypeError, keys.UnsupportedAlgorithm) as error:
        raise UserError(f"{path} is no private key that can be used; {PRIVATE}") from error
    if not isinstance(key, keys.Ed25519PrivateKey):
        raise UserError(f"{path} is a key of another kind; {PRIVATE}")
    return key


def sign_folder(folder: Path, key: Any) -> str:
    """Sign a sealed folder; returns the fingerprint of the public key."""
    public = key.public_key()
    (folder / SIGNATURE).write_bytes(key.sign((folder / MANIFEST).read_bytes()))
    (folder / SIGNER).write_bytes(_pem(public))
    return fingerprint(public)


def check_signature(bundle: Bundle, wanted: Path | None = None) -> tuple[str | None, list[Fault]]:
    """Who signed the manifest, by the fingerprint of the public key, and what is wrong with that.

    `wanted` is the public key that it must be signed with. Without it an unsigned bundle has no fault.

    Raises:
        UserError: if `wanted` is no public key, or if `cryptography` is not installed and there is something to check.
    """
    signed = [name for name in (SIGNATURE, SIGNER) if name in bundle.sizes]
    if not signed and wanted is None:
        return None, []
    keys = _keys()
    trusted = None if wanted is None else _public_key(_read(wanted, PUBLIC))
    if wanted is not None and trusted is None:
        raise UserError(f"{wanted} is no public key that can be used; {PUBLIC}")
    if not signed:
        return None, [Fault(SIGNATURE, "is missing: the bundle is not signed")]
    if len(signed) == 1:
        (gone,) = {SIGNATURE, SIGNER} - set(signed)
        return None, [Fault(gone, "is missing")]
    signature, pem = read_small(bundle, SIGNATURE, MAX_KEY), read_small(bundle, SIGNER, MAX_KEY)
    manifest = read_small(bundle, MANIFEST)
    key = None if pem is None else _public_key(pem)
    if key is None or _pem(key) != pem:
        return None, [Fault(SIGNER, "was changed: it is no public Ed25519 key as it was written")]
    if trusted is not None and _pem(trusted) != pem:
        given = f"{fingerprint(key)}, not {fingerprint(trusted)}, the key that was given"
        return None, [Fault(SIGNER, f"is another key: {given}")]
    try:
        key.verify(signature or b"", manifest or b"")
    except keys.InvalidSignature:
        if trusted is not None:  # the key is the right one
            return None, [Fault(SIGNATURE, "does not sign this manifest.json: one of the two was changed")]
        said = "does not sign this manifest.json by signer.pem: one of the three was changed"
        return None, [Fault(SIGNATURE, said), Fault(SIGNER, "was changed, or manifest.sig or manifest.json was")]
    return fingerprint(key), []


def fingerprint(public: Any) -> str:
    """SHA-256 of the key: `openssl pkey -pubin -in public.pem -outform DER | sha256sum`."""
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


def _read(path: Path, accepted: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY)
    except OSError as error:
        raise UserError(f"key {path} cannot be read ({error.strerror}); {accepted}") from error


def _keys() -> SimpleNamespace:
    """What is needed of `cryptography`."""
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    except ImportError as error:
        said = "signatures need the package cryptography, which is not installed; accepted: pip install cryptography"
        raise UserError(said) from error
    return SimpleNamespace(
        InvalidSignature=InvalidSignature,
        UnsupportedAlgorithm=UnsupportedAlgorithm,
        serialization=serialization,
        Ed25519PrivateKey=Ed25519PrivateKey,
        Ed25519PublicKey=Ed25519PublicKey,
    )
