"""A local HTTP server standing in for Civitai and its storage: the answers that matter, as the site gives them.

Every https address leads to it while its `opener` is in use, whatever the host. So a test sees which hosts were asked.
"""

import hashlib
import http.client
import json
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cgidm.intake.civitai import client
from cgidm.intake.civitai.client import EveryStatus

SITE = ("civitai.com", "www.civitai.com", "civitai.red", "civitai.green")
STORAGE = "b2.civitai.com"
OTHER_STORAGE = "civitai-delivery-worker-prod.5ac0637cfd0766c97916cefa3764fbdf.r2.cloudflarestorage.com"


@dataclass
class File:
    """What the stand-in knows of one file."""

    number: int
    data: bytes
    name: str = "lora.safetensors"
    kind: str = "Model"
    primary: bool = True
    properties: dict = field(default_factory=dict)
    digests: dict | None = None  # as stated; None: the true ones
    key: str | None = None  # who shows it may download
    status: int | None = None  # answered to a download instead
    login: bool = False  # people who are not logged in are sent to the page where they could
    location: str | None = None  # where a download leads
    more: bytes = b""  # what the storage sends after the stated size
    stated_size: int | None = None  # by the storage; None: the true one
    kind_of_answer: str = "binary/octet-stream"
    ignores_range: bool = False

    def describe(self):
        """The entry of `files`."""
        digest = hashlib.sha256(self.data).hexdigest().upper()
        true = {"SHA256": digest, "AutoV2": digest[:10], "AutoV3": "0123456789AB", "CRC32": "01234567"}
        return {
            "id": self.number,
            "name": self.name,
            "type": self.kind,
            "sizeKB": len(self.data) / 1024,
            "metadata": self.properties,
            "hashes": true if self.digests is None else self.digests,
            "primary": self.primary,
            "downloadUrl": "https://evil.example/never-used",
        }


@dataclass
class Version:
    """What the stand-in knows of one version."""

    model: int
    number: int
    files: list = field(default_factory=list)
    fields: dict = field(default_factory=dict)  # instead of the usual ones
    hosts: tuple = SITE  # the names of the site that know it

    def describe(self):
        """The answer to `GET /api/v1/model-versions/{id}`."""
        usual = {
            "id": self.number,
            "modelId": self.model,
            "name": f"v{self.number}",
            "baseModel": "SD 1.5",
            "air": f"urn:air:sd1:lora:civitai:{self.model}@{self.number}",
            "status": "Published",
            "availability": "Public",
            "publishedAt": f"2025-01-{self.number % 28 + 1:02d}T09:16:12.062Z",
            "usageControl": "Download",
            "trainedWords": ["sks dog", "muzzle"],
            "earlyAccessEndsAt": None,
            "model": {"name": "Dogs", "type": "LORA"},
            "files": [f.describe() for f in self.files],
        }
        return usual | self.fields


@dataclass
class Reply:
    """An answer to a description, as it is."""

    status: int = 200
    data: bytes = b""
    headers: dict = field(default_factory=dict)
    seconds: float = 0.0  # before it comes
    drip: float = 0.0  # seconds between its bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        link = urlsplit(self.path)
        host, path, query = self.headers["Host"], unquote(link.path), parse_qs(link.query)
        key = self.headers.get("Authorization")
        self.server.seen.append((host, self.path, self.headers.get("Range"), key))
        reply = self.server.replies.get(path)
        if reply is not None:
            time.sleep(reply.seconds)
            return self.answer(reply.status, reply.headers, reply.data, reply.drip)
        if host not in SITE:
            return self.hand_out(int(path.rpartition("/")[2]), key)
        if path.startswith("/api/v1/"):
            return self.describe(host, path.split("/")[3:])
        return self.redirect(int(path.rpartition("/")[2]), int(query["fileId"][0]), key)

    def describe(self, host, steps):
        number = int(steps[1])
        known = [v for v in self.server.versions if host in v.hosts]
        if steps[0] == "model-versions":
            found = next((v.describe() for v in known if v.number == number), None)
        else:
            versions = [v.describe() for v in known if v.model == number]
            found = {"id": number, "name": "Dogs", "modelVersions": versions} if versions else None
        if found is None:
            return self.json(404, {"error": f"No model with id {number}"})
        self.json(200, found)

    def redirect(self, number, file_number, key):
        version = next((v for v in self.server.versions if v.number == number), None)
        file = next((f for f in version.files if f.number == file_number), None) if version else None
        if file is None:
            return self.json(404, {"error": "File not found"})
        if file.status:
            return self.json(file.status, {"error": "Refused"})
        if file.login and key is None:
            return self.answer(307, {"Location": "/login?returnUrl=/models/1&reason=download-auth"})
        if file.key and key != f"Bearer {file.key}":
            return self.json(401, {"error": "Unauthorized", "message": "requires you to be logged in"})
        self.answer(307, {"Location": file.location or f"https://{STORAGE}/file/{file.number}?Authorization=signed"})

    def hand_out(self, number, key):
        if key is not None:
            return self.answer(400, {"Content-Type": "application/xml"}, b"<Error>InvalidRequest</Error>")
        file = next(f for v in self.server.versions for f in v.files if f.number == number)
        data, wanted = file.data + file.more, self.headers.get("Range")
        size = len(file.data) if file.stated_size is None else file.stated_size
        headers = {"Content-Type": file.kind_of_answer}
        if wanted and not file.ignores_range:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            part = file.data[int(start) : int(end) + 1]
            headers["Content-Range"] = f"bytes {start}-{int(start) + len(part) - 1}/{size}"
            return self.answer(206, headers, part)
        self.answer(200, headers | ({"Content-Length": str(size)} if not file.more else {}), data)

    def json(self, status, value):
        self.answer(status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode())

    def answer(self, status, headers, data=b"", drip=0.0):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for piece in [data[i : i + 1] for i in range(len(data))] if drip else [data]:
                self.wfile.write(piece)
                time.sleep(drip)
        except ConnectionError:
            pass  # who asked has read enough
        self.close_connection = True


class ToStandIn(urllib.request.HTTPSHandler):
    """Leads every https address to the stand-in; the host is in the request's header."""

    def __init__(self, port):
        super().__init__()
        self.port = port

    def https_open(self, request):
        return self.do_open(self.connect, request)

    def connect(self, host: str, **options: Any) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, **options)


@contextmanager
def serve(versions, replies=None):
    """Serve `versions`, and `replies` (path -> Reply) instead of descriptions.

    Yields the server, with its `opener` and the requests that it has `seen`: host, path, range, authorization.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.versions, server.replies, server.seen = versions, replies or {}, []
    server.opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), EveryStatus, ToStandIn(server.server_address[1])
    )
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def in_place_of_civitai(patch, *versions, replies=None):
    """The same, with every request of the library led to it by `patch`, pytest's monkeypatch."""
    with serve(list(versions), replies) as server, patch.context() as inside:
        inside.setattr(client, "opener", server.opener)
        yield server
