"""Ask a time-stamp authority for a stamp of a manifest: one request, to the server that somebody names.

What the server learns is the SHA-256 of the manifest, and who asks. RFC 3161, section 3.4: the request is posted.
"""

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ... import __version__
from ...errors import UserError
from ...messages.text import single_line
from ..bundle_reader import open_bundle, read_small
from ..seal import MANIFEST, STAMPS
from .envelope import add_to_bundle, next_number, require_whole
from .stamp import MAX_STAMP, Stamp, read_response

TIMEOUT = 30  # seconds to wait for an answer
QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """No other server is asked than the one that was named."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def stamp_bundle(path: Path, server: str) -> Stamp:
    """Have the manifest of a sealed bundle stamped, and put the stamp into the bundle.

    Args:
        path: folder or zip.
        server: the address of an authority, http or https.

    Raises:
        UserError: if the bundle is not whole, or the server answers with no stamp of its manifest. Then the bundle
            stays as it is.
    """
    if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).netloc:
        raise UserError("evidence.stamp_server", given=server)
    with open_bundle(path) as bundle:
        require_whole(bundle)
        number = next_number(bundle.sizes, STAMPS, bundle.label)
        manifest = read_small(bundle, MANIFEST) or b""
    request, nonce = _build(manifest)
    answer = _post(server, request)
    stamp = read_response(answer, manifest, nonce)
    name = f"{STAMPS}/{number:02d}.tsr"
    add_to_bundle(path, {name: answer})
    return Stamp(name, stamp.time, stamp.authority)


def _build(manifest: bytes) -> tuple[bytes, int | None]:
    """A request for a stamp, in DER, and its nonce."""
    try:
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder
    except ImportError as error:
        raise UserError("evidence.no_rfc3161") from error
    request = TimestampRequestBuilder(data=manifest, hash_algorithm=HashAlgorithm.SHA256).build()
    return request.as_bytes(), request.nonce


def _post(server: str, data: bytes) -> bytes:
    headers = {"Content-Type": QUERY, "Accept": REPLY, "User-Agent": f"cgidm/{__version__}"}
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        request = urllib.request.Request(server, data=data, headers=headers, method="POST")
        with opener.open(request, timeout=TIMEOUT) as answer:
            return answer.read(MAX_STAMP)
    except urllib.error.HTTPError as error:
        raise UserError("evidence.stamp_status", server=server, status=error.code) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = single_line(str(getattr(error, "reason", error)))
        raise UserError("evidence.stamp_unreachable", server=server, problem=problem) from error
