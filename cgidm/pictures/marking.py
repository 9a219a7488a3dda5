"""Content credentials that declare what a picture may be used for: an assertion of CAWG, signed with a person's key.

`cawg.training-mining` (Training and Data Mining Assertion 1.1, https://cawg.io/training-and-data-mining/1.1/) has four
entries, each of which is allowed, not allowed or constrained. It says what its signer wants. It hinders nobody.
"""

import io
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_atomically
from ..messages.text import single_line
from .credentials import SETTINGS, TYPES
from .decoding import decode_pixels

LABEL = "cawg.training-mining"
USES = ("cawg.data_mining", "cawg.ai_training", "cawg.ai_generative_training", "cawg.ai_inference")
TRAINING_USES = ("cawg.ai_training", "cawg.ai_generative_training")
MOST_KEY = 100_000  # bytes of a key or a chain of certificates
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}  # of a key -> C2PA's algorithm


def mark_picture(
    path: Path, out: Path, certificates: Path, key: Path, *, uses: tuple[str, ...] = TRAINING_USES, author: str = ""
) -> None:
    """Write a copy of a picture file whose credentials do not allow the uses.

    Credentials that the file has already become those of its parent. Pixels stay as they are.

    Args:
        path: the picture.
        out: a new file of the same format.
        certificates: PEM file of the signer's certificate, and those that issued it after it.
        key: PEM file of its private key.
        uses: of `USES`, those that are not allowed.
        author: a name to state beside it; none if blank.

    Raises:
        UserError: if a file cannot be used, the format holds no credentials, or the key does not fit the certificate.
    """
    c2pa = _library()
    if out.exists():
        raise UserError("pictures.mark.exists", path=str(out))
    data = _read(path, None)
    kind = TYPES.get(decode_pixels(data, str(path))[1] or "")
    if kind is None:
        raise UserError("pictures.mark.format", path=str(path), accepted=sorted(TYPES))
    private, chain = _read(key, MOST_KEY), _read(certificates, MOST_KEY)
    info = c2pa.C2paSignerInfo(alg=_algorithm(private, key), sign_cert=chain, private_key=private, ta_url=None)
    signed = io.BytesIO()
    try:
        context = c2pa.Context.from_dict(SETTINGS)
        with c2pa.Builder(_claim(path.name, uses, author), context=context) as builder:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            builder.sign(c2pa.Signer.from_info(info), kind, io.BytesIO(data), signed)
    except Exception as error:  # of a native library, fed with what a stranger wrote
        raise UserError("pictures.mark.refused", path=str(path), error=single_line(str(error))) from error
    try:
        write_atomically(out, signed.getvalue())
    except OSError as error:
        raise UserError("pictures.mark.not_written", path=str(out), error=single_line(str(error))) from error


def _claim(title: str, uses: tuple[str, ...], author: str) -> dict[str, Any]:
    assertions: list[dict[str, Any]] = [
        {"label": LABEL, "data": {"entries": {use: {"use": "notAllowed"} for use in USES if use in uses}}}
    ]
    if author:
        context = {"dc": "http://purl.org/dc/elements/1.1/"}
        assertions.append({"label": "cawg.metadata", "data": {"@context": context, "dc:creator": [author]}})
    return {"claim_generator_info": [{"name": "cgidm"}], "title": title, "assertions": assertions}


def _algorithm(private: bytes, path: Path) -> str:
    """C2PA's name of the algorithm of a private key."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    except ImportError as error:
        raise UserError("evidence.no_cryptography") from error
    try:
        key = serialization.load_pem_private_key(private, None)
    except (ValueError, TypeError) as error:
        raise UserError("pictures.mark.key", path=str(path), accepted=[*CURVES, "ed25519"]) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    raise UserError("pictures.mark.key", path=str(path), accepted=[*CURVES, "ed25519"])


def _read(path: Path, limit: int | None) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit if limit is not None else -1)
    except OSError as error:
        raise UserError("pictures.mark.unreadable", path=str(path), error=error.strerror) from error


def _library() -> Any:
    try:
        import c2pa
    except (ImportError, OSError) as error:  # OSError: its native library does not fit this system
        raise UserError("pictures.mark.no_library") from error
    return c2pa
