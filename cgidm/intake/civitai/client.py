"""Requests to Civitai and its storage, and to nobody else: every address is checked, and every redirect of it.

A person's API key goes along to the site's own hosts alone. A storage address is signed; it refuses a key beside it.
"""

import http.client
import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

from ... import __version__
from ...errors import UserError
from .answers import CivitaiError, CivitaiUnreachable, explain_status
from .location import HOSTS

KEY_VARIABLE = "CIVITAI_API_TOKEN"
TIMEOUT = 20  # seconds to wait for an answer, and for each part of it
MAX_SECONDS = 60  # for a description, a header, or a megabyte of a file
MAX_ANSWER = 20_000_000  # bytes of a description; models with hundreds of versions have about 1,000,000
MAX_REDIRECTS = 5
USER_AGENT = f"cgidm/{__version__}"  # the site's firewall refuses the default of Python
# Where `/api/download/models/` leads. Cloudflare R2: buckets of the site's own account, whose number is in the host
# (https://github.com/civitai/civitai/issues/975); Backblaze behind the site's own name
# (https://github.com/civitai/civitai/issues/2113, https://github.com/civitai/civitai/pull/1996).
STORAGE = re.compile(r"b2\.civitai\.com|[a-z0-9-]{1,63}\.5ac0637cfd0766c97916cefa3764fbdf\.r2\.cloudflarestorage\.com")


class EveryStatus(urllib.request.HTTPErrorProcessor):
    """Returns each answer to the caller, who checks its status: a redirect is not followed, a refusal not raised."""

    def http_response(self, request: Any, response: Any) -> Any:
        """Return `response`."""
        return response

    https_response = http_response


opener = urllib.request.build_opener(EveryStatus)


def read_key() -> str | None:
    """The API key of the person at this machine: CIVITAI_API_TOKEN, for the command line and scripts.

    Raises:
        UserError: if it cannot be a key.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key and not is_key(key):
        raise UserError("intake.civitai_bad_key", variable=KEY_VARIABLE)
    return key or None


def is_key(text: str) -> bool:
    """Whether `text` can be an API key: it can stand in a header, and ends no line there."""
    return re.fullmatch(r"[\x21-\x7e]{1,500}", text) is not None


def request_description(host: str, path: str, name: str, key: str | None) -> Any:
    """Return the JSON that the site answers to `https://HOST/api/v1/PATH`.

    Args:
        host: one of the site's.
        path: after `/api/v1/`.
        name: what is requested, for errors.
        key: the person's API key, if any.

    Raises:
        CivitaiError: if it does not answer, refuses, or answers something else.
    """
    with open_address(f"https://{host}/api/v1/{path}", name, key, site_only=True) as answer:
        if answer.html:
            raise CivitaiError("intake.civitai_web_page", name=name)
        data = answer.read(MAX_ANSWER + 1)
    if len(data) > MAX_ANSWER:
        raise CivitaiError("intake.civitai_unexpected", name=name)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CivitaiError("intake.civitai_unexpected", name=name) from error


class Answer:
    """The body of one answer, read in pieces."""

    def __init__(self, response: Any, name: str) -> None:
        self._response, self._name = response, name
        kind = response.headers.get("Content-Type", "").lower()
        self.html = "html" in kind
        self.is_file = not self.html and "json" not in kind
        self.partial = response.status == 206
        self.size = self._whole_size()

    def read(self, most: int) -> bytes:
        """Read at most `most` bytes; fewer only at the end."""
        data, end = bytearray(), time.monotonic() + MAX_SECONDS
        try:
            while len(data) < most and (piece := self._response.read1(most - len(data))):
                data += piece
                if time.monotonic() > end:
                    raise TimeoutError
        except http.client.IncompleteRead as error:
            return bytes(data + error.partial[: most - len(data)])
        except (OSError, http.client.HTTPException) as error:
            raise CivitaiUnreachable("intake.civitai_unreachable", name=self._name) from error
        return bytes(data)

    def _whole_size(self) -> int | None:
        """The bytes of the whole file, as the answer states them."""
        headers = self._response.headers
        text = headers.get("Content-Range", "").rpartition("/")[2]
        text = text if self.partial else headers.get("Content-Length", "")
        return int(text) if re.fullmatch(r"\d{1,15}", text, re.ASCII) else None


@contextmanager
def open_address(
    url: str, name: str, key: str | None, byte_range: tuple[int, int] | None = None, site_only: bool = False
) -> Iterator[Answer]:
    """Request `url`, follow its redirects to hosts of the site or its storage, and yield the answer.

    Args:
        url: on a host of the site.
        name: what is requested, for errors.
        key: the person's API key; it goes to hosts of the site alone.
        byte_range: first byte, and the byte after the last; None: everything.
        site_only: follow no redirect to the storage.

    Raises:
        CivitaiError: if an address is not on the list, the site does not answer, or it refuses.
    """
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    if byte_range is not None:
        headers["Range"] = f"bytes={byte_range[0]}-{byte_range[1] - 1}"
    status = 0
    for _ in range(MAX_REDIRECTS + 1):
        own = _check_address(url, name, site_only)
        credentials = {"Authorization": f"Bearer {key}"} if key and own else {}
        response = _open(urllib.request.Request(url, headers=headers | credentials), name)
        with response:
            status, told = response.status, {n.lower(): v for n, v in response.headers.items()}
            if status < 300:
                yield Answer(response, name)
                return
        if status >= 400 or "location" not in told:
            if not own:  # the storage knows nothing of accounts
                raise CivitaiError("intake.civitai_status", name=name, status=status)
            raise explain_status(status, told, name, bool(key))
        try:
            url = urljoin(url, told["location"])
            path = urlsplit(url).path.rstrip("/")
        except ValueError as error:  # half a bracket
            raise CivitaiError("intake.civitai_other_host", name=name, host="?") from error
        if own and path in ("/login", "/pricing"):  # a person would be asked to log in
            raise explain_status(401, {}, name, bool(key))
    raise CivitaiError("intake.civitai_status", name=name, status=status)


def _open(request: urllib.request.Request, name: str) -> Any:
    """The answer, whatever its status."""
    try:
        return opener.open(request, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CivitaiUnreachable("intake.civitai_unreachable", name=name) from error


def _check_address(url: str, name: str, site_only: bool) -> bool:
    """Whether `url` is on a host of the site; false for its storage.

    Raises:
        CivitaiError: for every other host, port or scheme.
    """
    host, own = "?", False
    try:
        link = urlsplit(url)
        host = link.hostname or "?"
        own = host in HOSTS
        listed = own or (not site_only and STORAGE.fullmatch(host) is not None)
        if listed and link.scheme == "https" and link.port in (None, 443) and "@" not in link.netloc:
            return own
    except ValueError:  # no number as its port
        pass
    raise CivitaiError("intake.civitai_other_host", name=name, host=host[:100])
